"""The recipe of a whole run: one frozen part per stage. Every field decides the result; paths and devices do not
belong here."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from comem_core.backbone.quantization import OFF, Quantization
from comem_core.evaluation.llm_judge import PREFIX
from comem_core.memory.description import Dtype
from comem_core.memory.recipe import BankRecipe
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, off_at
from comem_core.ranges import HashBits, NoneOrMore, OneOrMore, Range, Share
from comem_core.recipes.contamination import ContaminationRecipe
from comem_core.recipes.engine import EngineRecipe
from comem_core.recipes.held_out import HeldOutRecipe
from comem_core.synthesis.generator import SERVED
from comem_core.training.recipe import LARGEST_SEED, OptimizerRecipe, TrainingRecipe

SeedNumber = Annotated[int, Range(0, LARGEST_SEED)]

# For recipes that are also parameters of flows: an unknown field is an error, and the form shows docstrings.
OPTION = {"extra": "forbid", "use_attribute_docstrings": True, "revalidate_instances": "always"}


def check_seed(seed: int) -> None:
    """Refuse a seed that some random number generator does not accept. Raises ValueError."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {seed}; expected 0 to {LARGEST_SEED}")


def _check_filled(recipe: object, *names: str) -> None:
    for name in names:
        if not getattr(recipe, name).strip():
            raise ValueError(f"{name} is {getattr(recipe, name)!r}; expected at least one letter")


@dataclass(frozen=True, kw_only=True)
class BackboneRecipe:
    """Which VLM, and how it is held. `name` is a shipped model, a hub name or a local folder; with `quantization`, the
    layers of its language model have 8 bits (`int8`) or 4 (`nf4`; docs/gpu.md). Fingerprints include the hash of the
    weights, wherever they are, and everything here but the name.
    """

    family: str = "qwen_vl"
    name: str = "tiny"
    dtype: Dtype = "float32"
    quantization: Quantization = field(default=OFF, metadata=off_at(OFF))


@dataclass(frozen=True, kw_only=True)
class KnowledgeRecipe:
    """Which items there are, and how rows become items. `corpus` is anything that `knowledge.corpora` reads."""

    corpus: str = "countries"
    # For rows that lack them. None: the language is identified, the source is the file, the licence is "unknown".
    language: str | None = None
    source: str | None = None
    licence: str | None = None
    # `needed`: a row without a picture is a bad row; `optional`: it becomes an item of text alone.
    images: Literal["needed", "optional"] = "needed"
    allow_urls: bool = False
    # Pictures whose hashes differ in at most this many of 128 bits count as the same; None: only equal pictures do.
    near_duplicate_bits: HashBits | None = None
    # Larger pictures are scaled down (pixels of the longer side); those of more pixels are refused before decoding.
    max_side: OneOrMore = 1024
    max_pixels: OneOrMore = 50_000_000
    # Column names that `corpora.columns` does not know, in pairs such as ("text", "beschreibung").
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RetrievalRecipe:
    """How items are retrieved: the k nearest by cosine similarity, in rank order. Drafts and benchmark questions show
    as many of them as their own recipes say.

    `by` `image` compares pictures, as in the paper; `text` compares the question with the items' texts; `both` adds the
    two scores, with the weights 1 - `text_weight` and `text_weight`. `embedder` `backbone` is the reader's own vision
    tower, with visual tokens averaged in the cells of `grid`; `knowledge.embedders` lists the others.
    """

    by: Literal["image", "text", "both"] = "image"
    embedder: str = "backbone"
    text_embedder: str | None = None
    text_weight: Share = 0.5
    grid: tuple[OneOrMore, OneOrMore] = (1, 1)
    k: OneOrMore = 3
    # Up to this many items, all are compared; above, an approximate index finds candidates.
    exact_up_to: NoneOrMore = 50_000
    # Leave out items that show the question's own picture; else a question about an item's picture finds that item.
    exclude_own_image: bool = False
    # Ours: search among items in the question's language, since one picture has an item in each.
    same_language: bool = True


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe:
    """Which questions become drafts: `num_seed_questions` seeds; and for `num_asked_items` of the items that no seed is
    about, questions that the VLM asks itself, one per kind.

    `seeds` are benchmarks' training splits, by name, or files of seed questions with their pictures
    (`synthesis.seeds`). Several sources share the number evenly; with none, the VLM asks all questions.
    `generator` is `backbone`, the reader itself; `served:<model>`, a model behind an OpenAI-compatible address; or
    `vllm:<model>`, a model that the run serves itself (`vllm` alone: the reader's).
    """

    seeds: tuple[str, ...] = ("countries-vqa",)
    generator: str = "backbone"
    num_seed_questions: NoneOrMore = 2000
    num_asked_items: NoneOrMore = 60
    # At most this many questions become drafts, seeds first; None: all of them.
    max_samples: OneOrMore | None = None
    # How many kinds of question are asked about one item, chosen by a hash; None: all kinds of the prompt set.
    num_kinds: OneOrMore | None = None
    # 0 is greedy; above 0, questions are sampled, each with a seed of its own.
    ask_temperature: Annotated[float, Range(0)] = 0.0
    # How many of the retrieved items are in a draft's prompt, and may be trained on.
    k: OneOrMore = 3
    prompts: str = "short"
    max_new_tokens: OneOrMore = 24
    seed: SeedNumber = 0
    # How many kept samples are translated, each into all of these languages (paper: 200 into nine).
    num_translated: NoneOrMore = 0
    languages: tuple[str, ...] = ()
    translation_prompts: str = "plain"
    max_translated_tokens: OneOrMore = 512


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    """Which drafts are kept; fields are named like the parameters in `warehouse/filters/*.sql`.

    None or False switches off the filters that use the field.
    """

    min_metric_score: Share | None = field(default=1.0, metadata=OFF_AT_NONE)
    max_without_score: Share | None = field(default=None, metadata=OFF_AT_NONE)
    max_answer_words: OneOrMore | None = field(default=12, metadata=OFF_AT_NONE)
    min_question_words: OneOrMore | None = field(default=None, metadata=OFF_AT_NONE)
    max_question_words: OneOrMore | None = field(default=None, metadata=OFF_AT_NONE)
    must_be_grounded: bool = field(default=True, metadata=OFF_AT_FALSE)
    must_be_consistent: bool = field(default=True, metadata=OFF_AT_FALSE)
    must_be_in_language: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Set both or neither: the share of words in common, and the bits of 128 in which the pictures may differ.
    near_duplicate_similarity: Share | None = field(default=None, metadata=OFF_AT_NONE)
    near_duplicate_bits: HashBits | None = field(default=None, metadata=OFF_AT_NONE)
    # Contamination by benchmarks: bits of a picture's 128; the n of word n-grams; the share of a question's n-grams.
    # Words that are asked about more than this many pictures are a template, which does not leak an answer.
    contaminated_bits: HashBits | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_ngram: OneOrMore | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_share: Share | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_pictures: NoneOrMore | None = field(default=2, metadata=OFF_AT_NONE)
    max_per_answer: OneOrMore | None = field(default=60, metadata=OFF_AT_NONE)
    max_per_item: OneOrMore | None = field(default=None, metadata=OFF_AT_NONE)
    # For translations: the overlap of words with the original after translating back (0 to 1).
    min_round_trip: Share | None = field(default=0.5, metadata=OFF_AT_NONE)
    # The share of what questions are about that is held out from training and asked as the corpus's own benchmark.
    held_out_share: Share | None = field(default=None, metadata=OFF_AT_NONE)


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """A language model that judges every answer in addition to the official metric: `served:<model>`, behind an
    OpenAI-compatible address; `vllm:<model>`, which the run serves; or `backbone`, the reader itself. It decodes
    greedily, with `evaluation.judge_prompts`.

    A reply that is neither of the two expected words is `left_out` of the judge's score, or counts as `wrong`.
    """

    __pydantic_config__: ClassVar = OPTION

    generator: str
    """`served:<model>` at COMEM_JUDGE_URL, `vllm:<model>`, which the run serves itself, or `backbone`."""
    prompts: str = "plain"
    """The name of the judge's prompts."""
    max_new_tokens: int = 8
    """The most tokens that a reply may have."""
    unparsable: Literal["left_out", "wrong"] = "left_out"
    """Whether replies that are not a verdict are left out of the judge's score, or count as wrong."""
    revision: str | None = field(default=None, metadata=OFF_AT_NONE)
    """Which of the models of this name is served, such as the commit of its weights; another one judges anew."""

    def __post_init__(self) -> None:
        """Refuse settings with which a judge cannot work. Raises ValueError that names the field."""
        _check_filled(self, "generator", "prompts", *(["revision"] if self.revision is not None else []))
        if self.revision is not None and not self.generator.startswith(SERVED):
            raise ValueError(
                f"revision is {self.revision!r}, but the judge is {self.generator!r}, which is known by its weights; "
                f"leave revision out, or name {SERVED}<model>"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; expected 1 or more")

    @property
    def metric(self) -> str:
        """The name of the judge's metric: `judge:<model>`."""
        return f"{PREFIX}{self.generator.removeprefix(SERVED)}"


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """Which benchmark is asked, with how many questions, under which conditions, and with how many items.

    `part` None is the benchmark's last part. A condition that shows items is asked with `k` of them, and again with
    each number in `more_k`. With `held_out.k_among`, held-out questions decide `k`. The condition `foreign` shows items
    of the corpus `foreign`. `unanswered` decides whether questions without an answer are left out of a score or count
    as wrong.
    """

    benchmark: str = "countries-vqa"
    part: str | None = None
    num_questions: OneOrMore | None = None
    conditions: tuple[str, ...] = ("none", "text", "memory", "shuffled", "empty")
    k: OneOrMore = 3
    more_k: tuple[OneOrMore, ...] = ()
    foreign: str | None = None
    prompts: str = "short"
    max_new_tokens: OneOrMore = 24
    unanswered: Literal["left_out", "wrong"] = "left_out"
    contamination: ContaminationRecipe = field(default_factory=ContaminationRecipe)
    # The questions on which it is learnt how many items to show, and when to trust them.
    held_out: HeldOutRecipe = field(default_factory=HeldOutRecipe)
    # A language model as one more metric; None: no judge.
    judge: JudgeRecipe | None = None

    @property
    def all_k(self) -> tuple[int, ...]:
        """All numbers of items to show, `k` first."""
        return (self.k, *(k for k in self.more_k if k != self.k))


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """A text-only language model that answers instead of the backbone (the paper's Table 5). It reads the memories of
    the backbone's encoder and sees no pictures. `name` is `tiny-text`, a hub name or a folder. It runs in the
    backbone's number type.

    If its width is not the backbone's, a projection between them is trained on the encoder's own samples.
    """

    __pydantic_config__: ClassVar = OPTION

    name: str
    """`tiny-text`, a hub name or a folder; or `vllm:<address>`: the backbone itself, through a vLLM server."""
    question_picture: bool = True
    """Put the memory of the question's picture before the question; otherwise the reader gets nothing from it."""
    projection: bool = False
    """Train a projection even if the widths are equal and the reader could read the memories directly."""
    seed: int = 0
    """The seed of the projection's initial weights."""
    optimizer: OptimizerRecipe | None = None
    """The projection's optimizer; None: the same as the encoder's."""

    def __post_init__(self) -> None:
        """Refuse an empty name or a bad seed. Raises ValueError that names the field."""
        _check_filled(self, "name")
        check_seed(self.seed)

    @property
    def label(self) -> str:
        """The label of its runs and series: its name (of a folder, the last part) and non-default settings."""
        unusual = ("" if self.question_picture else ",blind") + (",projection" if self.projection else "")
        return f"{PurePath(self.name).name if PurePath(self.name).is_absolute() else self.name}{unusual}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The recipe of one complete run."""

    name: str
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    knowledge: KnowledgeRecipe = field(default_factory=KnowledgeRecipe)
    retrieval: RetrievalRecipe = field(default_factory=RetrievalRecipe)
    synthesis: SynthesisRecipe = field(default_factory=SynthesisRecipe)
    # Replaces `synthesis` on a user's own corpus, where the VLM asks all questions itself; None: `synthesis` is used.
    own_synthesis: SynthesisRecipe | None = None
    filters: FilterRecipe = field(default_factory=FilterRecipe)
    # Further benchmarks, besides its own, that samples must not overlap with; used if their files are present.
    against: tuple[str, ...] = ()
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    bank: BankRecipe = field(default_factory=BankRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    # The model that answers the benchmark; None: the backbone itself. The backbone always makes the data.
    reader: ReaderRecipe | None = None
    # The program that runs the backbone where it answers the benchmark; None: this library.
    engine: EngineRecipe | None = None

    @property
    def read_by(self) -> str | None:
        """The name of a series by what answers: a text-only reader, or an engine; None where the backbone does here."""
        return self.reader.label if self.reader else self.engine and self.engine.name
