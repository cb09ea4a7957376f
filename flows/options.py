"""The options of the flows: what each may be, and groups of those that belong together.

A group is a frozen type whose fields the Prefect form shows; a word (or a number, or a list) in its place is its main
field. Absent means the recipe's own value. Anything else means what it says, or is refused here by name.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from comem_core.knowledge.corpora.columns import check_columns
from comem_core.knowledge.languages import check_language
from comem_core.recipes import RECIPES
from comem_core.recipes.recipe import JudgeRecipe, ReaderRecipe
from comem_core.training.loop import LARGEST_SEED

GROUP = ConfigDict(extra="forbid", use_attribute_docstrings=True, revalidate_instances="always")
TEXT, TEXTS = {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}


@dataclass(frozen=True)
class Within:
    """The numbers that an option may be: whole or not, from `least` (or above it) to `most`."""

    kind: type[int] | type[float]
    least: float
    most: float = math.inf
    above: bool = False

    def check(self, number: float) -> float:
        """Return the number. Raises ValueError that says what was expected."""
        enough = number > self.least if self.above else number >= self.least
        if not (math.isfinite(number) and enough and number <= self.most):
            raise ValueError(f"found {number}; expected {self}")
        return number

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"{self.least:g} to {self.most:.0f}"
        return f"more than {self.least:g}" if self.above else f"{self.least:g} or more"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take a number as it is: neither a text nor true or false is one."""
        number = core_schema.int_schema(strict=True) if self.kind is int else core_schema.float_schema(strict=True)
        return core_schema.no_info_after_validator_function(self.check, number)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Let the form refuse what is out of bounds."""
        bounds = {"exclusiveMinimum" if self.above else "minimum": self.least}
        return handler(schema) | bounds | ({"maximum": self.most} if self.most < math.inf else {})


@dataclass(frozen=True, eq=False)
class Word:
    """Lets a group be given by one word: the value of its main field."""

    group: type
    field: str
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read a word as the group; what is wrong is then named by the field."""
        return core_schema.no_info_before_validator_function(self._in_full, handler.generate_schema(self.group))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Offer both in the form."""
        return {"anyOf": [dict(self.schema), handler(schema)]}

    def _in_full(self, given: Any) -> Any:
        return given if isinstance(given, Mapping | self.group) else {self.field: given}


def _filled(given: Any) -> Any:
    if not (given.strip() if isinstance(given, str) else given):
        raise ValueError(f"found {given!r}; expected at least one {'letter' if isinstance(given, str) else 'entry'}")
    return given


def _recipe(name: str) -> str:
    if name not in RECIPES:
        raise ValueError(f"found {name!r}; expected one of {', '.join(RECIPES)}")
    return name


def _language(tag: str) -> str:
    check_language(tag)
    return tag


def _columns(named: dict[str, str]) -> dict[str, str]:
    check_columns(named)
    return named


Count = Annotated[int, Within(int, 1)]
Seed = Annotated[int, Within(int, 0, LARGEST_SEED)]
Points = Annotated[float, Within(float, 0)]
Filled = Annotated[str, AfterValidator(_filled), WithJsonSchema(TEXT)]
Names = Annotated[list[Filled], AfterValidator(_filled), WithJsonSchema(TEXTS)]
RecipeName = Annotated[str, AfterValidator(_recipe), WithJsonSchema({"type": "string", "enum": [*RECIPES]})]


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What is read: which corpus, and what holds for its rows that do not say it themselves."""

    __pydantic_config__: ClassVar = GROUP

    corpus: Filled | None = None
    """A corpus of your own in place of the recipe's: a folder, a file or a URL (docs/data.md)."""
    language: Annotated[str, AfterValidator(_language)] | None = None
    """Language of rows that do not say it, such as en, pt or zh-Hans; without it, it is identified."""
    source: Filled | None = None
    """Source of rows that do not say it; without it, the file is named."""
    licence: Filled | None = None
    """Licence of rows that do not say it."""
    images: Literal["needed", "optional"] | None = None
    """Whether a text without a picture is an item (optional) or a bad row (needed)."""
    allow_urls: bool | None = None
    """Whether pictures may be fetched from http and https addresses in the corpus."""
    columns: Annotated[dict[str, Filled], AfterValidator(_filled), AfterValidator(_columns)] | None = None
    """Columns that are called otherwise than usual: ours, then the corpus's, such as {"text": "beschreibung"}."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What is written: from which questions, and by what."""

    __pydantic_config__: ClassVar = GROUP

    generator: Filled | None = None
    """What writes the data: `backbone`, or `served:<model>` at COMEM_SERVED_URL."""
    seeds: list[Filled] | None = None
    """Sources of seed questions with gold answers, such as `infoseek:/path/train.jsonl:/path/images`; [] is none."""
    ask_about: Annotated[int, Within(int, 0)] | None = None
    """About how many items the VLM asks questions of its own; 0 is none."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is done at most."""

    __pydantic_config__: ClassVar = GROUP

    questions: Count | None = None
    """At most so many seed questions, training steps and benchmark questions, for a quick look."""
    max_samples: Count | None = None
    """At most so many questions are drafted, seeds first."""
    max_hours: Annotated[float, Within(float, 0, above=True)] | None = None
    """What asking, drafting and judging may take; what is made by then is used, and a later run goes on."""


@dataclass(frozen=True, kw_only=True)
class Benchmarks:
    """The questions: which benchmarks, in which words, and how questions without an answer count."""

    __pydantic_config__: ClassVar = GROUP

    names: Names | None = None
    """Names of benchmarks (docs/benchmarks.md); without it, the recipe's."""
    prompts: Filled | None = None
    """The prompt set that questions are asked with; without it, the recipe's."""
    unanswered: Literal["left_out", "wrong"] | None = None
    """Whether questions without an answer are left out of a score, or wrong."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The items beside a question: under which conditions, how many, and from which other corpus."""

    __pydantic_config__: ClassVar = GROUP

    names: Names | None = None
    """Names of conditions; without it, the recipe's."""
    k: Annotated[list[Count], AfterValidator(_filled)] | None = None
    """Numbers of items to show, such as [3, 10, 50]; without it, the recipe's."""
    foreign: Filled | None = None
    """The corpus whose items the condition `foreign` shows."""


KnowledgeOption = Annotated[str | Knowledge, Word(Knowledge, "corpus", TEXT)]
WritingOption = Annotated[str | Writing, Word(Writing, "generator", TEXT)]
LimitOption = Annotated[int | Limits, Word(Limits, "questions", {"type": "integer", "minimum": 1})]
BenchmarksOption = Annotated[Sequence[str] | Benchmarks, Word(Benchmarks, "names", TEXTS)]
ConditionsOption = Annotated[Sequence[str] | Conditions, Word(Conditions, "names", TEXTS)]
JudgeOption = Annotated[str | JudgeRecipe, Word(JudgeRecipe, "generator", TEXT)]
ReaderOption = Annotated[str | ReaderRecipe, Word(ReaderRecipe, "name", TEXT)]
