"""What a whole run is made of: one frozen part a stage. Every field decides the result; no path or device is here."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import ClassVar, Literal

from comem_core.evaluation.llm_judge import PREFIX
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE
from comem_core.synthesis.generator import SERVED
from comem_core.training.loop import LARGEST_SEED, OptimizerRecipe
from comem_core.training.memory import TrainingRecipe

# Of recipes that are parameters of the flows too: a field that is not known is an error, and the form shows docstrings.
OPTION = {"extra": "forbid", "use_attribute_docstrings": True, "revalidate_instances": "always"}


def check_seed(seed: int) -> None:
    """Refuse a seed that not every generator of random numbers takes. Raises ValueError."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {seed}; expected 0 to {LARGEST_SEED}")


def _check_filled(recipe: object, *names: str) -> None:
    for name in names:
        if not getattr(recipe, name).strip():
            raise ValueError(f"{name} is {getattr(recipe, name)!r}; expected at least one letter")


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
    """Which items there are, and how rows become items. `corpus` is whatever `knowledge.corpora` reads."""

    corpus: str = "countries"
    # For rows that do not say; None: the language is identified, the source is the file, the licence "unknown".
    language: str | None = None
    source: str | None = None
    licence: str | None = None
    # `needed`: a row without a picture is a bad row; `optional`: it becomes an item of text alone.
    images: Literal["needed", "optional"] = "needed"
    allow_urls: bool = False
    # Pictures that differ in at most so many of 128 bits are the same to the eye; None: only equal ones are.
    near_duplicate_bits: int | None = None
    # Larger pictures are made smaller (pixels of the longer side); those of too many pixels are not decoded.
    max_side: int = 1024
    max_pixels: int = 50_000_000
    # Columns that are called otherwise than `corpora.columns` knows: pairs such as ("text", "beschreibung").
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RetrievalRecipe:
    """Cosine similarity, the k nearest in rank order. Drafts and benchmark questions then show as many of them as their
    own recipes say.

    `by` `image` compares pictures, as in the paper; `text` the question with the items' texts; `both` adds the two,
    `text_weight` to one minus it. `embedder` `backbone` is the reader's own vision tower, its visual tokens averaged in
    the cells of `grid`; others are named in `knowledge.embedders`.
    """

    by: Literal["image", "text", "both"] = "image"
    embedder: str = "backbone"
    text_embedder: str | None = None
    text_weight: float = 0.5
    grid: tuple[int, int] = (1, 1)
    k: int = 3
    # Up to so many items every one is compared; above, an approximate index finds the candidates.
    exact_up_to: int = 50_000
    # Leave out items that show the question's own picture: a question asked about an item would find that item.
    exclude_own_image: bool = False
    # Ours: search among items in the question's language, since one picture has an item in each.
    same_language: bool = True


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe:
    """Which questions become drafts: `num_seed_questions` seeds, and for items that no seed is about, `num_asked_items`
    of them, questions that the VLM asks itself, one a kind.

    `seeds` are benchmarks' training splits, by name, or files of seed questions with their pictures
    (`synthesis.seeds`); several give the same number each, and none means that all questions are asked.
    `generator` is `backbone`, the reader itself, or `served:<model>`, a model behind an OpenAI-compatible address.
    """

    seeds: tuple[str, ...] = ("countries-vqa",)
    generator: str = "backbone"
    num_seed_questions: int = 2000
    num_asked_items: int = 60
    # At most so many questions become drafts, seeds first; None: all of them.
    max_samples: int | None = None
    # How many kinds of question are asked about one item, chosen by a hash; None: each that the prompt set has.
    num_kinds: int | None = None
    # 0 asks the likeliest question; above it, questions are drawn, each with a seed of its own.
    ask_temperature: float = 0.0
    # How many of the retrieved items stand in a draft's prompt, and may be trained on.
    k: int = 3
    prompts: str = "short"
    max_new_tokens: int = 24
    seed: int = 0
    # How many kept samples are translated, each into every one of these languages (paper: 200 into nine).
    num_translated: int = 0
    languages: tuple[str, ...] = ()
    translation_prompts: str = "plain"
    max_translated_tokens: int = 512


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    """What decides which drafts survive; names are those of the parameters in `warehouse/filters/*.sql`.

    None or False switches off the filters that use it.
    """

    min_metric_score: float | None = field(default=1.0, metadata=OFF_AT_NONE)
    max_without_score: float | None = field(default=None, metadata=OFF_AT_NONE)
    max_answer_words: int | None = field(default=12, metadata=OFF_AT_NONE)
    min_question_words: int | None = field(default=None, metadata=OFF_AT_NONE)
    max_question_words: int | None = field(default=None, metadata=OFF_AT_NONE)
    must_be_grounded: bool = field(default=True, metadata=OFF_AT_FALSE)
    must_be_consistent: bool = field(default=True, metadata=OFF_AT_FALSE)
    must_be_in_language: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Both or none: the share of words in common, and the bits of 128 in which the pictures differ.
    near_duplicate_similarity: float | None = field(default=None, metadata=OFF_AT_NONE)
    near_duplicate_bits: int | None = field(default=None, metadata=OFF_AT_NONE)
    # Against the benchmarks: bits of a picture's 128; words of a run, and the share of a question's runs. Words that
    # are asked about more than so many pictures are a template, which gives nothing away.
    contaminated_bits: int | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_ngram: int | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_share: float | None = field(default=None, metadata=OFF_AT_NONE)
    contaminated_pictures: int | None = field(default=2, metadata=OFF_AT_NONE)
    max_per_answer: int | None = field(default=60, metadata=OFF_AT_NONE)
    max_per_item: int | None = field(default=None, metadata=OFF_AT_NONE)
    # Of a translation: the overlap of words with the original, after the way there and back (0 to 1).
    min_round_trip: float | None = field(default=0.5, metadata=OFF_AT_NONE)
    # The share of what questions are about that is never trained on, but asked as the corpus's own benchmark.
    held_out_share: float | None = field(default=None, metadata=OFF_AT_NONE)


@dataclass(frozen=True, kw_only=True)
class ContaminationRecipe:
    """What counts as the same as a benchmark's question (docs/benchmarks.md): pictures that differ in at most
    `near_bits` of 128 bits; questions that share `min_share` of their runs of `run_words` words. Words that are asked
    about more than `max_pictures` pictures are a template.
    """

    near_bits: int = 6
    run_words: int = 8
    min_share: float = 0.5
    max_pictures: int = 2


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """A language model that marks every answer beside the official metric: `served:<model>`, behind an
    OpenAI-compatible address, or `backbone`, the reader itself. It is asked greedily, with `evaluation.judge_prompts`.

    A reply that is neither of the two words asked for is `left_out` of the judge's score, or counts as `wrong`.
    """

    __pydantic_config__: ClassVar = OPTION

    generator: str
    """`served:<model>` at COMEM_JUDGE_URL, or `backbone`."""
    prompts: str = "plain"
    """The prompts that it is asked with."""
    max_new_tokens: int = 8
    """At most so many tokens of a reply are read."""
    unparsable: Literal["left_out", "wrong"] = "left_out"
    """Whether replies that are not a verdict are left out of its score, or count as wrong."""

    def __post_init__(self) -> None:
        """Refuse a judge that cannot judge. Raises ValueError that names the field."""
        _check_filled(self, "generator", "prompts")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; expected 1 or more")

    @property
    def metric(self) -> str:
        """The name of its metric: `judge:<model>`."""
        return f"{PREFIX}{self.generator.removeprefix(SERVED)}"


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """Which benchmark is asked, of how many questions, under which conditions, with how many items.

    `part` None is the benchmark's last one. `k` items are shown, and each number of `more_k` besides, where a condition
    shows a number of items. The condition `foreign` shows items of the corpus `foreign`. `unanswered` says what becomes
    of questions without an answer: they are left out of a score, or wrong.
    """

    benchmark: str = "countries-vqa"
    part: str | None = None
    num_questions: int | None = None
    conditions: tuple[str, ...] = ("none", "text", "memory", "shuffled", "empty")
    k: int = 3
    more_k: tuple[int, ...] = ()
    foreign: str | None = None
    prompts: str = "short"
    max_new_tokens: int = 24
    unanswered: Literal["left_out", "wrong"] = "left_out"
    contamination: ContaminationRecipe = field(default_factory=ContaminationRecipe)
    # A language model as one more metric; None: there is none.
    judge: JudgeRecipe | None = None

    @property
    def all_k(self) -> tuple[int, ...]:
        """Every number of items that is shown, `k` first."""
        return (self.k, *(k for k in self.more_k if k != self.k))


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """A text-only language model that answers in the backbone's place (the paper's Table 5): it reads the memories of
    the backbone's encoder, and sees no picture. `name` is `tiny-text`, a hub name or a folder, and it runs in the
    backbone's number type.

    Where it is of another width than the backbone, a projection is trained between them, on the encoder's own samples.
    """

    __pydantic_config__: ClassVar = OPTION

    name: str
    """`tiny-text`, a hub name or a folder."""
    question_picture: bool = True
    """Put the memory of a question's picture before the question; otherwise nothing is known of the picture."""
    projection: bool = False
    """Train a projection even where the widths are equal and the memories can be read as they are."""
    seed: int = 0
    """Of the projection's first weights."""
    optimizer: OptimizerRecipe | None = None
    """Of the projection; without it, the encoder's own."""

    def __post_init__(self) -> None:
        """Refuse a reader that cannot be found or trained for. Raises ValueError that names the field."""
        _check_filled(self, "name")
        check_seed(self.seed)

    @property
    def label(self) -> str:
        """What tells its runs and series from others: its name, of a folder the last part, and what is not usual."""
        unusual = ("" if self.question_picture else ",blind") + (",projection" if self.projection else "")
        return f"{PurePath(self.name).name if PurePath(self.name).is_absolute() else self.name}{unusual}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, whole."""

    name: str
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    knowledge: KnowledgeRecipe = field(default_factory=KnowledgeRecipe)
    retrieval: RetrievalRecipe = field(default_factory=RetrievalRecipe)
    synthesis: SynthesisRecipe = field(default_factory=SynthesisRecipe)
    # In the place of `synthesis` on a corpus of one's own, where the VLM asks everything itself; None: the same.
    own_synthesis: SynthesisRecipe | None = None
    filters: FilterRecipe = field(default_factory=FilterRecipe)
    # Benchmarks beside its own that samples are kept apart from, each where its files are at hand.
    against: tuple[str, ...] = ()
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    # Who answers the benchmark; None: the backbone itself. Data are made by the backbone in any case.
    reader: ReaderRecipe | None = None
