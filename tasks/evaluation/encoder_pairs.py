"""Compares the encoders of one run in pairs: which one is better on the same questions, by how much, how surely.

Only the conditions that show a question's own items as memory are compared. Left out are conditions that no encoder
decides (`none`, `text`) and controls, at which no encoder should be better.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from comem_core.evaluation.comparison import add_words
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.evaluation.compare import ROLES, Evaluation, Marks, compare_by_condition, read_official_marks
from tasks.evaluation.score import convert_to_shares
from tasks.rows.tables import read_asked_questions
from tasks.run import Run
from warehouse.page.comparison import name_whole
from warehouse.page.wording import write_interval, write_points, write_verdict

ENCODER_PAIRS = Stage(name="encoder-pairs", version="2")
PAIRS = "pairs.json"
CONDITIONS = ("memory", "oracle")
MOST_IN_ALL_PAIRS = 5  # ten pairs


@dataclass(frozen=True, kw_only=True)
class EncoderPairsKey:
    """The encoders by the names the user gave, the conditions, and up to how many encoders all pairs are compared."""

    names: tuple[str, ...]
    conditions: tuple[str, ...]
    most_in_all_pairs: int


@dataclass(frozen=True)
class _Side:
    """The marks of one encoder's answers to a benchmark, by condition and number of items."""

    name: str
    encoder: str
    marks: Marks


@stage_task(name="compare-encoders")
def compare_encoders(run: Run, evaluations: Sequence[Evaluation]) -> Reference | None:
    """Compare the encoders of a run on each benchmark, in pairs; None if there is only one encoder.

    Up to five encoders give all pairs. Of more, each is compared with the last one only, and `left_out` says so.
    """
    known = {(each.benchmark, each.encoder.fingerprint): each for each in reversed(evaluations)}
    different = [each for each in evaluations if known[each.benchmark, each.encoder.fingerprint] is each]
    if len({each.encoder.fingerprint for each in different}) < 2:
        return None
    key = EncoderPairsKey(
        names=tuple(_shorten_name(each) for each in different),
        conditions=CONDITIONS,
        most_in_all_pairs=MOST_IN_ALL_PAIRS,
    )

    def make(artefact: Partial) -> None:
        benchmarks = dict.fromkeys(each.benchmark for each in different)
        found = [_compare_on_benchmark([each for each in different if each.benchmark == name]) for name in benchmarks]
        with artefact.open_file(PAIRS) as path:
            path.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")

    inputs = {
        f"{role}-{place}": getattr(each, role) for place, each in enumerate(different) for role in ("encoder", *ROLES)
    }
    made = run_stage(run, ENCODER_PAIRS, key, inputs, make)
    if get_plan() is None:
        _log_pairs(read_pairs(made))
    return made


def read_pairs(pairs: Reference | None) -> list[dict[str, Any]]:
    """Read the comparisons, one for each benchmark: `benchmark`, `metric`, `rows`, and `left_out` in words or None."""
    return json.loads((pairs.folder / PAIRS).read_text(encoding="utf-8")) if pairs else []


def list_pairs(sides: Sequence[Any], *, most: int = MOST_IN_ALL_PAIRS) -> list[tuple[Any, Any]]:
    """List all pairs of up to `most` sides; of more, the pairs of the last one with each of the others."""
    if len(sides) <= most:
        return list(combinations(sides, 2))
    return [(sides[-1], each) for each in sides[:-1]]


def _compare_on_benchmark(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Compare the encoders of one benchmark; the p-values are adjusted over all pairs (Holm)."""
    benchmark, questions = evaluations[0].benchmark, read_asked_questions(evaluations[0].questions.folder)
    metric, sides = "", []
    for each in evaluations:
        metric, marks = read_official_marks(each.predictions.folder, each.scores.folder)
        shown = {key: value for key, value in marks.items() if key[0] in CONDITIONS}
        sides.append(_Side(_shorten_name(each), each.encoder.fingerprint, shown))
    pairs = list_pairs(sides)
    family = [row for one, other in pairs for row in _compare_sides(one, other, questions, benchmark=benchmark)]
    return {
        "benchmark": benchmark,
        "metric": metric,
        "rows": [convert_to_shares(row) for row in add_words(family)],
        "left_out": _describe_left_out(sides, num_pairs=len(pairs)),
    }


def _compare_sides(
    one: _Side, other: _Side, questions: Sequence[Mapping[str, Any]], *, benchmark: str
) -> Iterable[dict]:
    """Yield the differences (first minus second) over the whole benchmark, condition by condition."""
    rows = compare_by_condition(one.marks, other.marks, questions, benchmark=benchmark)
    named = {"first": one.name, "second": other.name}
    named |= {"first_encoder": one.encoder, "second_encoder": other.encoder}
    whole = name_whole(rows)
    yield from (row | named for row in rows if row["split"] == whole)


def _describe_left_out(sides: Sequence[_Side], *, num_pairs: int) -> str | None:
    num_all = len(sides) * (len(sides) - 1) // 2
    if num_pairs == num_all:
        return None
    return (
        f"{len(sides)} encoders: the last one, {sides[-1].name}, is compared with each of the others; the "
        f"{num_all - num_pairs} pairs among those are left out (name up to {MOST_IN_ALL_PAIRS} encoders to see all)"
    )


def _shorten_name(evaluation: Evaluation) -> str:
    """Return the name by which the user asked for an encoder; of a folder, its last part."""
    return Path(evaluation.name).name


def _log_pairs(found: Sequence[Mapping[str, Any]]) -> None:
    """Log each comparison of two encoders."""
    for each in found:
        for row in each["rows"]:
            interval = write_interval(row["low"], row["high"], write_points)
            get_stage_logger().info(
                "%s, %s k=%s: %s against %s: %s, %+.1f points (%s), p = %.3f",
                *(each["benchmark"], row["condition"], row["k"], row["first"], row["second"], write_verdict(row)),
                *(100 * row["value"], interval, row["p_adjusted"]),
            )
        if each["left_out"]:
            get_stage_logger().info("%s: %s", each["benchmark"], each["left_out"])
