"""Renders the page of a run that evaluates: scores of every encoder on every benchmark, by the official metric and that
of CoMEM's authors, with the better conditions and the differences since last time.

Owns the arrangement of scores for its template. Independent of statistics.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.declared import read_conditions
from warehouse.page import wording
from warehouse.page.comparison import Compared, name_whole
from warehouse.page.environment import make_environment
from warehouse.page.head import (
    PageHead,
    find_recorded_backbone,
    find_recorded_corpus,
    name_corpus,
    shorten_run,
    write_count,
)
from warehouse.page.pictures import PagePictures
from warehouse.records import find_artefact
from warehouse.samples.overlap import describe_overlap
from warehouse.sql import read_report_rows

COUNTS = ("coverage", "truncated", "unparsable", "gated")
AUTHORS = "authors_compat"
CLEAN = "/clean=yes"
NUM_PARTED, NUM_REPLIES = 12, 8


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A row of the table evaluation, the name of its official metric, and its comparison with the one before.

    `since` is None for the first evaluation of its series; `unchanged` means that the answers are the same as before.
    `page` is the address of the comparison's page.
    """

    row: Mapping[str, str | None]
    metric: str
    since: Compared | None = None
    page: str | None = None
    unchanged: bool = False

    @property
    def verdict(self) -> str:
        """One sentence about what moved since last time."""
        if self.unchanged:
            return "The same answers as last time: nothing that decides an answer has changed."
        return "The first evaluation of its series." if self.since is None else self.since.verdict


def render_evaluation(
    con: DuckDBPyConnection,
    run_id: str,
    evaluated: Sequence[Evaluated],
    *,
    images: Callable[[str], bytes | None],
    pairs: Sequence[Mapping[str, Any]] = (),
    machine: str | None = None,
) -> str:
    """Return the page as one HTML file; `images` returns the bytes of an image_id, or None.

    `pairs` compares encoders with each other: for each benchmark `benchmark`, `metric`, `rows`, `left_out` (or None).
    """
    facts = read_report_rows(con, "run_facts", {"run_id": run_id})
    recipe = json.loads(facts[0]["recipe"] or "null")
    sections, title = [_make_section(con, each) for each in evaluated], write_title(evaluated)
    return (
        make_environment()
        .get_template("evaluation.html.j2")
        .render(
            described=describe_evaluations(facts[0], sections, title),
            run=facts[0],
            corpus=find_recorded_corpus(recipe),
            backbone=find_recorded_backbone(recipe),
            sections=sections,
            pairs=[each for each in pairs if each["rows"]],
            pictures=PagePictures(images),
            machine=machine,
            counts=COUNTS,
            title=title,
        )
    )


def describe_evaluations(run: Mapping[str, Any], sections: Sequence[Mapping[str, Any]], result: str) -> PageHead:
    """Describe the page of a run that evaluates: recipe, corpus, and each encoder with its benchmark and questions."""
    about = [run["recipe_name"], *name_corpus(json.loads(run["recipe"]) if run["recipe"] else None)]
    for each in sections:
        row, num = each["row"], max((line["any"]["n"] or 0 for line in each["lines"]), default=0)
        read_by = f", read by {row['reader_name']}," if row["reader_name"] else ""
        about.append(f"{row['encoder_name']}{read_by} on {write_count(num, 'question')} of {row['benchmark']}")
    return PageHead(
        title=f"Evaluation {shorten_run(run['run_id'])}",
        about="; ".join(about),
        result=result,
    )


def write_title(evaluated: Sequence[Evaluated]) -> str:
    """Return how many evaluations moved, of those that have one before them."""
    compared = [each for each in evaluated if each.since is not None or each.unchanged]
    num_first = len(evaluated) - len(compared)
    first = f"{num_first} first evaluation{'' if num_first == 1 else 's'}"
    if not compared:
        return f"{first}: nothing to compare with yet"
    num_moved = sum(each.since is not None and each.since.has_moved for each in compared)
    noun = "evaluation" if len(compared) == 1 else "evaluations"
    return f"{num_moved} of {len(compared)} {noun} moved since last time" + (f"; {first}" if num_first else "")


def _make_section(con: DuckDBPyConnection, evaluated: Evaluated) -> dict:
    row = evaluated.row
    conditions = wording.ConditionWords(read_conditions(con))
    scores = read_report_rows(con, "evaluation_scores", {"scores": row["scores"]})
    differences = read_report_rows(con, "evaluation_differences", {"scores": row["scores"]})
    wanted = {name: row[name] for name in ("scores", "predictions", "questions")}
    parted = read_report_rows(con, "metrics_part", wanted | {"official": evaluated.metric, "limit": NUM_PARTED})
    others = {each["metric"] for each in scores} - {evaluated.metric, *COUNTS}
    whole = name_whole(differences)
    return {
        "evaluated": evaluated,
        "row": row,
        "metrics": [evaluated.metric, *sorted(others, key=wording.order_metric)],
        "has_clean": any(each["split"].endswith(CLEAN) for each in scores),
        "lines": _make_lines([each for each in scores if _is_line(each["split"])], conditions),
        "slices": _make_lines(
            [each for each in scores if not _is_line(each["split"]) and each["metric"] == evaluated.metric],
            conditions,
        ),
        "tried": read_report_rows(con, "tried_k", {"predictions": row["predictions"]}),
        "gates": read_report_rows(con, "gates", {"predictions": row["predictions"]}),
        "found": read_report_rows(con, "found_at_rank", {"predictions": row["predictions"]}),
        "differences": [each for each in differences if each["split"] == whole],
        "parted": parted,
        "num_parted": parted[0]["total"] if parted else 0,
        "compatible": any(each["metric"] == AUTHORS for each in scores),
        "judge": _collect_judge(con, evaluated),
        "contamination": _describe_contamination(con, row["scores"] or ""),
        "missing": read_report_rows(con, "missing_by_reason", {"questions": row["questions"]}),
    }


def _collect_judge(con: DuckDBPyConnection, evaluated: Evaluated) -> dict | None:
    """Collect how a language model judged the answers: its agreement with the official metric, the answers on which
    they disagree, and the replies without a verdict.

    None if there was no judge; `agreement` is empty if the judge had nothing to judge.
    """
    scored = find_artefact(con, evaluated.row["scores"] or "")
    judged = find_artefact(con, scored["inputs"].get("judgements", "")) if scored else None
    if scored is None or judged is None:
        return None
    wanted = {name: evaluated.row[name] for name in ("scores", "predictions", "questions")}
    wanted |= {"judgements": judged["fingerprint"], "official": evaluated.metric, "limit": NUM_PARTED}
    parted = read_report_rows(con, "judge_parts", wanted)
    replies = {"judgements": judged["fingerprint"], "limit": NUM_REPLIES}
    return {
        "metric": scored["recipe"]["judge"],
        "unparsable": scored["recipe"]["unparsable"],
        "made_by": judged["recipe"],
        "agreement": read_report_rows(con, "judge_agreement", {"scores": evaluated.row["scores"]}),
        "parted": parted,
        "num_parted": parted[0]["total"] if parted else 0,
        "without_verdict": read_report_rows(con, "judge_without_verdict", replies),
    }


def _describe_contamination(con: DuckDBPyConnection, scores: str) -> list[str]:
    """Describe what the questions share with training data and knowledge, as counted before scoring."""
    scored = find_artefact(con, scores)
    found = find_artefact(con, scored["inputs"].get("contamination", "")) if scored else None
    return describe_overlap(found["measured"]["overlap"]) if found else []


def _is_line(split: str) -> bool:
    """Tell whether a part is in the table of scores: a whole split, or the clean questions of one."""
    return "/" not in split or split.endswith(CLEAN)


def _make_lines(scores: Sequence[dict], conditions: wording.ConditionWords) -> list[dict]:
    """Make one line for each condition, k and split, with its scores by metric."""
    lines: dict[tuple[str, int, str], dict[str, dict]] = {}
    for score in scores:
        lines.setdefault((score["condition"], score["k"] or 0, score["split"]), {})[score["metric"]] = score

    def order(key: tuple[str, int, str]) -> tuple:
        condition, k, split = key
        return (conditions.order(condition), k, split != "all", split)

    return [
        {
            "condition": key[0],
            "k": key[1],
            "split": key[2],
            "by_metric": lines[key],
            "any": next(iter(lines[key].values())),
        }
        for key in sorted(lines, key=order)
    ]
