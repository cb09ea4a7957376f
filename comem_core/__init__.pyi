# The only list of public names: __init__.py and type checkers both read it. A name after `as` is public.

from comem_core.backbone.decoding import Decoding as Decoding
from comem_core.backbone.images import VisualTokens as VisualTokens
from comem_core.backbone.interface import Backbone as Backbone
from comem_core.backbone.interface import Family as Family
from comem_core.backbone.loading import load_backbone as load_backbone
from comem_core.backbone.text import TextModel as TextModel
from comem_core.evaluation.annotations.asking import AnnotatedQuestion as AnnotatedQuestion
from comem_core.evaluation.annotations.asking import make_questions as make_questions
from comem_core.evaluation.annotations.asking import require_text as require_text
from comem_core.evaluation.annotations.release import Release as Release
from comem_core.evaluation.annotations.release import need as need
from comem_core.evaluation.annotations.rows import read_json_lines as read_json_lines
from comem_core.evaluation.benchmarks import ANY as ANY
from comem_core.evaluation.benchmarks import Benchmark as Benchmark
from comem_core.evaluation.benchmarks import Wording as Wording
from comem_core.evaluation.metrics.squad import EXACT_MATCH as EXACT_MATCH
from comem_core.evaluation.metrics.squad import TOKEN_F1 as TOKEN_F1
from comem_core.knowledge.corpora import read_corpus as read_corpus
from comem_core.knowledge.items import KnowledgeItem as KnowledgeItem
from comem_core.knowledge.items import Question as Question
from comem_core.memory.answering import Answer as Answer
from comem_core.memory.bank import Bank as Bank
from comem_core.memory.encoder import MemoryEncoder as MemoryEncoder
from comem_core.memory.export import MergedEncoder as MergedEncoder
from comem_core.memory.export import Probe as Probe
from comem_core.memory.export import Tolerance as Tolerance
from comem_core.memory.export import export_merged as export_merged
from comem_core.memory.injection import inject as inject
from comem_core.memory.recipe import EncoderRecipe as EncoderRecipe
from comem_core.memory.transfer import TextTransfer as TextTransfer
from comem_core.memory.transfer_recipe import TransferRecipe as TransferRecipe
from comem_core.training.loop import Training as Training
from comem_core.training.memory import AnswerFromMemory as AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe as OptimizerRecipe
from comem_core.training.recipe import TrainingRecipe as TrainingRecipe
from comem_core.training.samples import TrainingSample as TrainingSample
from comem_core.training.transfer import AnswerThroughTransfer as AnswerThroughTransfer
from comem_core.worlds.countries.world import load_benchmark_questions as load_benchmark_questions
from comem_core.worlds.countries.world import load_knowledge_items as load_knowledge_items
from comem_core.worlds.countries.world import load_seed_questions as load_seed_questions

__all__: list[str]
