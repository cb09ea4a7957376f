"""The data card of a training set: Markdown with measured numbers, and the query behind each of them.

Owns which query gives which part of the card. Independent of the files that the set is written to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warehouse.samples.filtering import FILTERS, Funnel, count_funnel, read_reason_meanings
from warehouse.samples.training_files import COLUMNS
from warehouse.sql import read_heading, read_report_rows, read_sql, write_with_values

TEMPLATES = Path(__file__).parent / "templates"
NUM_EXAMPLES, NUM_KINDS, LONGEST_TEXT = 10, 40, 240
MARKUP = re.compile(r"[\\|`*_\[\]]")
"""What Markdown takes for a bar of a table, emphasis, code, a link or a picture."""
QUERIES = ("totals", "languages", "kinds", "sources", "models", "ledger", "examples", "artefacts")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# Part of the names of recipe fields, of any stage, that identify the prompts a model was given.
WORDS = "prompts"


@dataclass(frozen=True, kw_only=True)
class CardSources:
    """The artefacts that a card describes, by fingerprint. `kept` are those with drops and samples."""

    knowledge: tuple[str, ...]
    questions: tuple[str, ...]
    drafts: tuple[str, ...]
    verdicts: tuple[str, ...]
    kept: tuple[str, ...]

    def list_parameters(self) -> dict[str, object]:
        """Return the parameters of the card's queries."""
        lists: dict[str, object] = {name: list(values) for name, values in asdict(self).items()}
        artefacts = [fingerprint for values in asdict(self).values() for fingerprint in values]
        return lists | {"artefacts": sorted(set(artefacts)), "drops": lists["kept"], "reasons": list(FILTERS)}


@dataclass(frozen=True)
class Card:
    """The content of a card: the rows of each query by its name, and the funnel."""

    found: dict[str, list[dict[str, Any]]]
    funnel: Funnel
    parameters: dict[str, object]

    @property
    def total(self) -> dict[str, Any]:
        return self.found["totals"][0]

    @property
    def licences(self) -> list[str]:
        """The licences of the items that the samples show, sorted."""
        return sorted({row["licence"] for row in self.found["sources"]})

    @property
    def languages(self) -> list[str]:
        """The languages of the samples, sorted."""
        return sorted(row["language"] for row in self.found["languages"] if row["language"])


def find_sources(con: DuckDBPyConnection, run_id: str) -> CardSources:
    """Find the artefacts that a run's card describes; ValueError for a run without filtered drafts."""
    found: dict[str, list[str]] = {name: [] for name in CardSources.__dataclass_fields__}
    for row in read_report_rows(con, "card_tables", {"run_id": run_id}):
        found[row["holds"]].append(row["fingerprint"])
    if not found["drafts"] or not found["kept"]:
        raise ValueError(f"the run {run_id} has no filtered drafts, so there is no training set to describe")
    return CardSources(**{name: tuple(values) for name, values in found.items()})


def collect_card(con: DuckDBPyConnection, sources: CardSources) -> Card:
    """Run the queries behind a card."""
    values = sources.list_parameters()
    limits = {"examples": NUM_EXAMPLES, "kinds": NUM_KINDS}
    found = {
        name: read_report_rows(con, f"card_{name}", values | {"limit": limits.get(name, NUM_EXAMPLES)})
        for name in QUERIES
    }
    return Card(found, count_funnel(con, list(sources.drafts), list(sources.kept)), values)


def render_card(
    card: Card,
    sources: CardSources,
    *,
    name: str,
    files: str = "train-*.parquet",
    not_compared: Sequence[str] = (),
) -> str:
    """Write the card of a training set as Markdown with YAML front matter.

    `name` is the name of the set; `files` is the pattern of its files, beside the card; `not_compared` are benchmarks
    whose files were not at hand, so that drafts were not compared with them.
    """
    filtering = [_parse_recipe(row["recipe"]) for row in card.found["artefacts"] if row["fingerprint"] in sources.kept]
    parameters = filtering[0] if filtering else {}
    names = [*(f"card_{query}" for query in QUERIES), "funnel"]
    template = _make_environment().get_template("card.md.j2")
    text = template.render(
        name=name,
        files=files,
        card=card,
        columns=COLUMNS,
        front=_make_front_matter(card, name=name, files=files),
        meanings=read_reason_meanings(parameters),
        parameters=parameters,
        contamination=_describe_contamination(card, parameters, sources.kept) | {"not_compared": not_compared},
        words=_list_prompt_hashes(card.found["artefacts"]),
        queries=[
            (each, read_heading(read_sql("reports", each)), _write_query(each, card.parameters)) for each in names
        ],
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _write_query(name: str, parameters: dict[str, object]) -> str:
    limit = {"card_examples": NUM_EXAMPLES, "card_kinds": NUM_KINDS}.get(name, NUM_EXAMPLES)
    return write_with_values(read_sql("reports", name), parameters | {"limit": limit}).strip()


def _make_front_matter(card: Card, *, name: str, files: str) -> dict[str, Any]:
    """Return the fields that a hub reads from a card. Values are written as JSON, which is valid YAML."""
    samples = card.total["samples"]
    return {
        "pretty_name": name,
        "language": card.languages,
        "license": "other",
        "license_name": "; ".join(card.licences) or "unknown",
        "task_categories": ["visual-question-answering"],
        "size_categories": [next((words for limit, words in SIZES if samples < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }


def _describe_contamination(card: Card, parameters: dict[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    """Return the filters that compare drafts with benchmarks, the artefacts compared with, and the number of drops."""
    checks = {key: value for key, value in parameters.items() if key.startswith("contaminated") and value is not None}
    against = [
        pair
        for row in card.found["artefacts"]
        if row["fingerprint"] in kept
        for pair in row["inputs"] or ()
        if pair.startswith("benchmark")
    ]
    dropped = {line.reason: line.total for line in card.funnel.reasons if line.reason.startswith("contaminated")}
    return {"checks": checks, "against": sorted(set(against)), "dropped": dropped}


def _list_prompt_hashes(artefacts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """List the hashes of prompt files in the recipes of the stages."""
    return [
        {"stage": row["stage"], "field": field, "hash": str(value)}
        for row in artefacts
        for field, value in _parse_recipe(row["recipe"]).items()
        if WORDS in field and value
    ]


def _parse_recipe(recipe: str | None) -> dict[str, Any]:
    found = json.loads(recipe) if recipe else {}
    return found if isinstance(found, dict) else {}


@cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": _write_cell, "yaml": lambda value: json.dumps(value, ensure_ascii=False)}
    return environment


def _write_cell(value: object) -> str:
    """Write a value for a table's cell: no line breaks, nothing that is markup, short numbers, long texts cut."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = " ".join(str(value).split())
    text = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + " …"
    return MARKUP.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))
