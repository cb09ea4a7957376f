"""The options of the flows: the values that each accepts, and groups of options that belong together.

A group is a frozen type whose fields the Prefect form shows. A word (or a number, or a list) in place of a group sets
its main field. An absent option means the recipe's own value. Invalid values are refused with the name of their field.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from comem_core.backbone.quantization import Quantization
from comem_core.knowledge.corpora.columns import check_columns
from comem_core.knowledge.languages import check_language
from comem_core.memory.description import Dtype
from comem_core.ranges import Range
from comem_core.recipes import RECIPES
from comem_core.recipes.files import ENDING, make_own_recipe, read_recipe_file
from comem_core.recipes.recipe import JudgeRecipe, ReaderRecipe
from comem_core.training.recipe import LARGEST_SEED
from tasks.engine.context import Context
from tasks.recorded_recipes import find_recorded_recipe

EXPECTED_OWN = (
    "a recipe file (.toml), the name or id of an earlier run's, or the fields of one with its base (docs/recipes.md)"
)
GROUP = ConfigDict(extra="forbid", use_attribute_docstrings=True, revalidate_instances="always")
TEXT, TEXTS = {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}
ONE_OR_MORE = {"anyOf": [TEXT, TEXTS]}


@dataclass(frozen=True)
class Within:
    """The numbers that an option accepts: whole or not, from `least` (or above it) to `most`."""

    kind: type[int] | type[float]
    least: float
    most: float = math.inf
    above: bool = False

    def check(self, number: float) -> float:
        """Return the number. Raises ValueError that says what was expected."""
        if not self.range.allows(number):
            raise ValueError(f"found {number}; expected {self}")
        return number

    @property
    def range(self) -> Range:
        return Range(self.least, self.most, above=self.above)

    def __str__(self) -> str:
        return str(self.range)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept only numbers: neither a text nor true or false is converted to one."""
        number = core_schema.int_schema(strict=True) if self.kind is int else core_schema.float_schema(strict=True)
        return core_schema.no_info_after_validator_function(self.check, number)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Let the form refuse numbers out of bounds."""
        bounds = {"exclusiveMinimum" if self.above else "minimum": self.least}
        return handler(schema) | bounds | ({"maximum": self.most} if self.most < math.inf else {})


@dataclass(frozen=True, eq=False)
class Word:
    """Lets one word stand for a group: the value of its main field."""

    group: type
    field: str
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read a word as the group, so that faults have the name of the field."""
        return core_schema.no_info_before_validator_function(self._make_full, handler.generate_schema(self.group))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Offer both the word and the group in the form."""
        return {"anyOf": [dict(self.schema), handler(schema)]}

    def _make_full(self, given: Any) -> Any:
        return given if isinstance(given, Mapping | self.group) else {self.field: given}


def _list_one(given: Any) -> Any:
    """Let one word, or one group of fields, stand for a list of it."""
    return [given] if isinstance(given, str | Mapping) else given


def _check_filled(given: Any) -> Any:
    if not (given.strip() if isinstance(given, str) else given):
        raise ValueError(f"found {given!r}; expected at least one {'letter' if isinstance(given, str) else 'entry'}")
    return given


def _read_recipe(given: Any) -> str | dict[str, Any]:
    """Return a shipped recipe's name, or the fields of a recipe of one's own, which so travel with the run."""
    if isinstance(given, str) and (ships := given.replace("-", "_")) in RECIPES:
        return ships
    if isinstance(given, str) and given.lower().endswith(ENDING):
        stated = read_recipe_file(given) if os.path.isfile(Path(given).expanduser()) else _miss_file(given)
        make_own_recipe(stated, RECIPES, where=given)
        return stated
    stated = given
    if isinstance(given, str) and given.strip():
        stated = find_recorded_recipe(Context.from_environment(), given)
    if not isinstance(stated, dict):
        names = ", ".join(RECIPES)
        raise ValueError(f"found {given!r}; expected one of {names}, {EXPECTED_OWN}")
    make_own_recipe(stated, RECIPES)
    return stated


def _miss_file(path: str) -> NoReturn:
    """Refuse a file that is not there, and name the run that recorded its recipe."""
    name = Path(path).stem
    recorded = find_recorded_recipe(Context.from_environment(), name)
    kept = f". A run here has recorded the recipe {name}: -p recipe={name} takes it" if recorded else ""
    where = "" if Path(path).expanduser().is_absolute() else f" in {Path.cwd()}"
    raise ValueError(f"{path}: no such file{where}{kept}")


def _check_language(tag: str) -> str:
    check_language(tag)
    return tag


def _check_columns(named: dict[str, str]) -> dict[str, str]:
    check_columns(named)
    return named


Count = Annotated[int, Within(int, 1)]
Seed = Annotated[int, Within(int, 0, LARGEST_SEED)]
Points = Annotated[float, Within(float, 0)]
Filled = Annotated[str, AfterValidator(_check_filled), WithJsonSchema(TEXT)]
Names = Annotated[list[Filled], BeforeValidator(_list_one), AfterValidator(_check_filled), WithJsonSchema(ONE_OR_MORE)]
RecipeOption = Annotated[
    str | dict[str, Any],
    PlainValidator(_read_recipe),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [*RECIPES], "title": "a recipe that ships"},
                {
                    "type": "string",
                    "minLength": 1,
                    "title": "a recipe file (.toml), or the name or id of an earlier run's",
                },
                {"type": "object", "title": "fields of a recipe of your own, with its base and name (docs/recipes.md)"},
            ]
        }
    ),
]


@dataclass(frozen=True, kw_only=True)
class ChosenBackbone:
    """The VLM in place of the recipe's, and how it is loaded."""

    __pydantic_config__: ClassVar = GROUP

    name: Filled | None = None
    """A shipped model, a hub name (owner/name), or the absolute path of a folder with a config.json."""
    family: Filled | None = None
    """The model's family (docs/memory.md); by default it is read from the model's config.json."""
    dtype: Dtype | None = None
    """The number type that the weights are loaded in."""
    quantization: Quantization | None = None
    """`int8` or `nf4`: the layers of its language model have 8 or 4 bits (docs/gpu.md); `off`: they are whole."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """The corpus that is read, and defaults for its rows."""

    __pydantic_config__: ClassVar = GROUP

    corpus: Filled | None = None
    """A corpus of your own in place of the recipe's: a folder, a file or a URL (docs/data.md)."""
    language: Annotated[str, AfterValidator(_check_language)] | None = None
    """Language of rows that do not give one, such as en, pt or zh-Hans; by default it is identified from the text."""
    source: Filled | None = None
    """Source of rows that do not give one; by default the file's name."""
    licence: Filled | None = None
    """Licence of rows that do not give one."""
    images: Literal["needed", "optional"] | None = None
    """Whether a text without a picture is an item (optional) or a bad row (needed)."""
    allow_urls: bool | None = None
    """Whether pictures may be fetched from http and https addresses in the corpus."""
    columns: Annotated[dict[str, Filled], AfterValidator(_check_filled), AfterValidator(_check_columns)] | None = None
    """Columns with unusual names: our name, then the corpus's, such as {"text": "beschreibung"}."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """The data that are written: from which questions, and by which model."""

    __pydantic_config__: ClassVar = GROUP

    generator: Filled | None = None
    """The model that writes the data: `backbone`, `served:<model>` at COMEM_SERVED_URL, or `vllm` or `vllm:<model>`,
    which the run serves itself."""
    seeds: list[Filled] | None = None
    """Sources of seed questions with gold answers, such as `infoseek:/path/train.jsonl:/path/images`; [] for none."""
    ask_about: Annotated[int, Within(int, 0)] | None = None
    """The number of items about which the VLM asks questions of its own; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the amount of work."""

    __pydantic_config__: ClassVar = GROUP

    questions: Count | None = None
    """The maximum number each of seed questions, training steps and benchmark questions, for a quick look."""
    max_samples: Count | None = None
    """The maximum number of questions that are drafted, seeds first."""
    max_hours: Annotated[float, Within(float, 0, above=True)] | None = None
    """The hours that asking, drafting and judging may take; the finished part is used, and a later run continues."""


@dataclass(frozen=True, kw_only=True)
class Benchmarks:
    """The benchmarks, the prompts, and how questions without an answer count."""

    __pydantic_config__: ClassVar = GROUP

    names: Names | None = None
    """Names of benchmarks (docs/benchmarks.md); by default the recipe's."""
    prompts: Filled | None = None
    """The prompt set that questions are asked with; by default the recipe's."""
    unanswered: Literal["left_out", "wrong"] | None = None
    """Whether questions without an answer are left out of a score or count as wrong."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions under which questions are asked, the numbers of items, and the foreign corpus."""

    __pydantic_config__: ClassVar = GROUP

    names: Names | None = None
    """Names of conditions; by default the recipe's."""
    k: Annotated[list[Count], AfterValidator(_check_filled)] | None = None
    """Numbers of items to show, such as [3, 10, 50]; by default the recipe's."""
    k_among: Annotated[list[Count], AfterValidator(_check_filled)] | None = None
    """Numbers of items, such as [1, 2, 3, 5, 10], of which held-out questions decide one (docs/evaluation.md)."""
    foreign: Filled | None = None
    """The corpus whose items the condition `foreign` shows."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A way to search that is compared with others: the recipe's retrieval with these fields."""

    __pydantic_config__: ClassVar = GROUP

    embedder: Filled | None = None
    """What embeds pictures, or, of one that reads texts alone, these (docs/data.md); by default the recipe's."""
    by: Literal["image", "text", "both"] | None = None
    """What is compared; by default pictures, with an embedder that sees none texts, and both with a text_embedder."""
    text_embedder: Filled | None = None
    """What embeds texts."""
    text_weight: Annotated[float, Within(float, 0, 1)] | None = None
    """The weight of the texts where both are compared; that of the pictures is the rest."""
    grid: tuple[Count, Count] | None = None
    """The cells, rows and columns, in which the backbone's view of a picture is averaged."""
    same_language: bool | None = None
    """Whether only items in the question's language are searched."""


BackboneOption = Annotated[str | ChosenBackbone, Word(ChosenBackbone, "name", TEXT)]
KnowledgeOption = Annotated[str | Knowledge, Word(Knowledge, "corpus", TEXT)]
WritingOption = Annotated[str | Writing, Word(Writing, "generator", TEXT)]
LimitOption = Annotated[int | Limits, Word(Limits, "questions", {"type": "integer", "minimum": 1})]
SearchOption = Annotated[str | Search, Word(Search, "embedder", TEXT)]
SearchesOption = Annotated[list[SearchOption], BeforeValidator(_list_one), AfterValidator(_check_filled)]
BenchmarksOption = Annotated[Sequence[str] | Benchmarks, Word(Benchmarks, "names", ONE_OR_MORE)]
ConditionsOption = Annotated[Sequence[str] | Conditions, Word(Conditions, "names", ONE_OR_MORE)]
JudgeOption = Annotated[str | JudgeRecipe, Word(JudgeRecipe, "generator", TEXT)]
ReaderOption = Annotated[str | ReaderRecipe, Word(ReaderRecipe, "name", TEXT)]
