"""What a whole run is made of: one frozen part a stage. Every field decides the result; no path or device is here."""

from dataclasses import dataclass, field

from comem_core.training.memory import TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class BackboneRecipe:
    """Which VLM, and in which number type. `name` is a shipped model, a hub name or a local folder.

    The weights enter fingerprints by their hash, wherever they lie; family and number type enter beside it.
    """

    family: str = "qwen_vl"
    name: str = "tiny"
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class KnowledgeRecipe:
    """Which items there are. `corpus` is a built-in name, a folder, or a .jsonl file (`knowledge.corpora`)."""

    corpus: str = "countries"


@dataclass(frozen=True, kw_only=True)
class RetrievalRecipe:
    """Image to image, as in the paper: cosine similarity, the k nearest in rank order, no re-ranking. Drafts and
    benchmark questions then show as many of them as their own recipes say.

    `embedder` `backbone` is the reader's own vision tower, its visual tokens averaged in the cells of `grid`.
    """

    embedder: str = "backbone"
    grid: tuple[int, int] = (1, 1)
    k: int = 3
    # Ours: search among items in the question's language, since one picture has an item in each.
    same_language: bool = True


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe:
    """Which questions become drafts: `num_seed_questions` of the benchmark's training split, and for items that no
    seed is about, `num_asked_items` of them, questions that the VLM asks itself, one a kind."""

    seeds: str = "countries-vqa"
    num_seed_questions: int = 2000
    num_asked_items: int = 60
    # How many of the retrieved items stand in a draft's prompt, and may be trained on.
    k: int = 3
    prompts: str = "short"
    max_new_tokens: int = 24
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    """What decides which drafts survive; names are those of the parameters in `warehouse/filters/*.sql`."""

    min_metric_score: float = 1.0
    max_without_score: float | None = None
    max_answer_words: int = 12
    max_per_answer: int = 60


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """Which benchmark is asked, of how many questions, under which conditions, with how many items."""

    benchmark: str = "countries-vqa"
    part: str = "test"
    num_questions: int | None = None
    conditions: tuple[str, ...] = ("none", "text", "memory", "shuffled", "empty")
    k: int = 3
    prompts: str = "short"
    max_new_tokens: int = 24


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, whole."""

    name: str
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    knowledge: KnowledgeRecipe = field(default_factory=KnowledgeRecipe)
    retrieval: RetrievalRecipe = field(default_factory=RetrievalRecipe)
    synthesis: SynthesisRecipe = field(default_factory=SynthesisRecipe)
    filters: FilterRecipe = field(default_factory=FilterRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
