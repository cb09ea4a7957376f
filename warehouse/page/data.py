"""Collects from the warehouse the data of one run's page; a part that the run did not reach stays empty.

Owns which report gives the data of which section. Independent of HTML.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from duckdb import DuckDBPyConnection

from warehouse.declared import find_stage
from warehouse.lineage import Edge, trace_upward
from warehouse.samples.filtering import FILTERS, Funnel, count_funnel, read_reason_meanings
from warehouse.samples.overlap import describe_overlap
from warehouse.sql import read_heading, read_report_rows, read_sql, write_with_values

NUM_SHOWN = 12


@dataclass(frozen=True)
class Query:
    """A report's SQL with its values, and its description."""

    name: str
    meaning: str
    text: str


@dataclass(frozen=True)
class Hidden:
    """What a page must not show, because it was withdrawn: items, and pictures."""

    item_ids: Collection[str] = ()
    image_ids: Collection[str] = ()

    def has(self, card: Mapping[str, object]) -> bool:
        """Tell whether a question is about one of the items or pictures."""
        return card["image_id"] in self.image_ids or card["gold_item_id"] in self.item_ids


@dataclass(frozen=True)
class TrainingCurve:
    """The steps of one stage that trained, with the subject and caption that the stage declares."""

    subject: str
    caption: str
    losses: list[dict]


@dataclass(frozen=True)
class RunData:
    """All data of one run's page. An empty list or None means that the run did not get there."""

    run: dict
    recipe: dict | None
    stages: list[dict]
    corpus_files: list[dict]
    dropped_rows: list[dict]
    uncertain: list[dict]
    funnel: Funnel | None
    meanings: dict[str, str]
    reader: dict
    trainings: list[TrainingCurve]
    scores: list[dict]
    found: dict[str, list[dict]]
    clean_scores: list[dict]
    contamination: list[str]
    differences: list[dict]
    gallery: list[dict]
    edges: list[Edge]
    artefacts: dict[str, dict]
    queries: list[Query]


def collect(con: DuckDBPyConnection, run_id: str) -> RunData:
    """Run the reports behind the page; for an unknown run_id, ValueError lists the latest runs."""
    facts = read_report_rows(con, "run_facts", {"run_id": run_id})
    if not facts:
        latest = ", ".join(row["run_id"] for row in read_report_rows(con, "recent_runs", {"limit": 5})) or "none"
        raise ValueError(f"the warehouse has no run {run_id!r}; the latest runs are: {latest}")
    recipe = json.loads(facts[0]["recipe"]) if facts[0]["recipe"] else None
    stages = read_report_rows(con, "stage_table", {"run_id": run_id})
    edges = trace_upward(con, *(row["fingerprint"] for row in stages)) if stages else []
    drafts, drops = _find_funnel_artefacts(con, run_id)
    return RunData(
        run=facts[0],
        recipe=recipe,
        stages=stages,
        corpus_files=read_report_rows(con, "corpus_files", {"run_id": run_id, "limit": NUM_SHOWN}),
        dropped_rows=read_report_rows(con, "dropped_rows", {"run_id": run_id}),
        uncertain=_collect_uncertain(con, run_id),
        funnel=count_funnel(con, drafts, drops) if drafts and drops else None,
        meanings=read_reason_meanings(flatten_recipe(recipe)),
        reader=read_report_rows(con, "reader", {"run_id": run_id})[0],
        trainings=_collect_trainings(con, run_id),
        scores=read_report_rows(con, "score_table", {"run_id": run_id}),
        found=_collect_found(con, run_id),
        clean_scores=read_report_rows(con, "clean_scores", {"run_id": run_id}),
        contamination=_describe_contamination(con, run_id),
        differences=read_report_rows(con, "condition_differences", {"run_id": run_id}),
        gallery=_collect_gallery(con, run_id),
        edges=edges,
        artefacts=_collect_artefacts(con, stages, edges),
        queries=_collect_queries(run_id, drafts, drops),
    )


def _collect_trainings(con: DuckDBPyConnection, run_id: str) -> list[TrainingCurve]:
    """Return the loss curve of each stage that trained, without curves that have no known loss."""
    by_stage: dict[str, list[dict]] = defaultdict(list)
    for row in read_report_rows(con, "loss_curve", {"run_id": run_id}):
        by_stage[row["stage"]].append(row)
    found = [(find_stage(con, name), losses) for name, losses in by_stage.items()]
    return [
        TrainingCurve(declared.subject, declared.caption, losses)
        for declared, losses in found
        if any(row["loss"] is not None for row in losses)
    ]


def _describe_contamination(con: DuckDBPyConnection, run_id: str) -> list[str]:
    """Describe in sentences which questions the encoder was trained on, as far as this is known."""
    counted = [json.loads(row["counts"]) for row in read_report_rows(con, "contamination", {"run_id": run_id})]
    return [sentence for counts in counted for sentence in describe_overlap(counts)]


def _collect_uncertain(con: DuckDBPyConnection, run_id: str) -> list[dict]:
    """Return for each corpus `counts` of uncertain texts by the language that they got, and `shown`, up to ten."""
    rows = read_report_rows(con, "uncertain_languages", {"run_id": run_id})
    return [{name: json.loads(row[name]) for name in ("counts", "shown")} for row in rows]


def _collect_found(con: DuckDBPyConnection, run_id: str) -> dict[str, list[dict]]:
    """Return at which ranks the gold items were found, by benchmark."""
    found: dict[str, list[dict]] = {}
    for made in read_report_rows(con, "run_tables", {"run_id": run_id}):
        if made["holds"] == "prediction":
            rows = read_report_rows(con, "found_at_rank", {"predictions": made["fingerprint"]})
            found |= {name: list(ranks) for name, ranks in groupby(rows, key=itemgetter("benchmark"))}
    return found


def _find_funnel_artefacts(con: DuckDBPyConnection, run_id: str) -> tuple[list[str], list[str]]:
    found = read_report_rows(con, "run_tables", {"run_id": run_id})
    drafts = [row["fingerprint"] for row in found if row["holds"] == "draft"]
    return drafts, [row["fingerprint"] for row in found if row["holds"] == "drop"]


def flatten_recipe(recipe: object) -> dict[str, object]:
    """Flatten a recipe to its plain values by name, so that a filter's meaning can show its parameter."""
    if not isinstance(recipe, dict):
        return {}
    values = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    for part in recipe.values():
        values |= flatten_recipe(part)
    return values


def _collect_gallery(con: DuckDBPyConnection, run_id: str) -> list[dict]:
    """Return test questions, each with its `answers_by` condition and its `items`."""
    questions = read_report_rows(con, "gallery_questions", {"run_id": run_id, "limit": NUM_SHOWN})
    wanted = {"run_id": run_id, "questions": [row["question_id"] for row in questions]}
    answers, items = defaultdict(list), defaultdict(list)
    if questions:
        for row in read_report_rows(con, "gallery_answers", wanted):
            answers[row["benchmark"], row["question_id"]].append(row)
        for row in read_report_rows(con, "gallery_items", wanted):
            items[row["question_id"]].append(row)
    return [
        row | {"answers_by": answers[row["benchmark"], row["question_id"]], "items": items[row["question_id"]]}
        for row in questions
    ]


def has_in_gallery(con: DuckDBPyConnection, run_id: str, hidden: Hidden) -> bool:
    """Tell whether the page of a run shows one of these items, or asks about one of them or of these pictures."""
    return any(
        hidden.has(card) or any(item["item_id"] in hidden.item_ids for item in card["items"])
        for card in _collect_gallery(con, run_id)
    )


def find_pictures_of(con: DuckDBPyConnection, item_ids: Collection[str], *, alone: bool) -> dict[str, str]:
    """Return the pictures of some items, or those that no other item shows, each with an artefact that has it."""
    query = """
        WITH chosen AS (SELECT DISTINCT unnest($ids) AS item_id, TRUE AS is_chosen)
        SELECT image_id, any_value(artefact)
        FROM knowledge_item LEFT JOIN chosen USING (item_id)
        WHERE image_id IS NOT NULL
        GROUP BY image_id
        HAVING bool_or(is_chosen) AND (NOT $alone OR bool_and(coalesce(is_chosen, FALSE)))
    """
    return dict(con.execute(query, {"ids": list(item_ids), "alone": alone}).fetchall())


def _collect_artefacts(con: DuckDBPyConnection, stages: list[dict], edges: list[Edge]) -> dict[str, dict]:
    """Return stage, num_rows and the run's action by fingerprint, for every artefact of the run or above it."""
    named = {row["fingerprint"] for row in stages}
    named |= {edge.fingerprint for edge in edges} | {edge.input_fingerprint for edge in edges}
    actions = {row["fingerprint"]: row for row in stages}
    roles = {edge.input_fingerprint: edge.role for edge in edges}
    query = "SELECT fingerprint, stage, num_rows FROM artefact WHERE list_contains(?, fingerprint)"
    known = {row[0]: row for row in con.execute(query, [sorted(named)]).fetchall()} if named else {}
    nodes = {}
    for fingerprint in sorted(named):
        done = actions.get(fingerprint, {})
        _, stage, num_rows = known.get(fingerprint, (None, done.get("stage") or roles.get(fingerprint), None))
        nodes[fingerprint] = {"stage": stage, "num_rows": num_rows, "action": done.get("action")}
    return nodes


def _collect_queries(run_id: str, drafts: list[str], drops: list[str]) -> list[Query]:
    values = {"run_id": run_id, "limit": NUM_SHOWN, "reasons": list(FILTERS)}
    values |= {"drafts": drafts, "drops": drops}
    names = [
        "score_table",
        "clean_scores",
        "contamination",
        "condition_differences",
        "funnel",
        "stage_table",
        "reader",
        "loss_curve",
        "corpus_files",
        "dropped_rows",
        "uncertain_languages",
        "gallery_questions",
    ]
    return [
        Query(name, read_heading(text), write_with_values(text, values))
        for name in names
        for text in [read_sql("reports", name)]
    ]
