"""Encoders of one evaluation, in pairs: is one better than another on the same questions, by how much, how surely?

Compared under the conditions that show a question's own items as memory. What encoders do not decide (`none`, `text`)
and the controls, which no encoder should win, are left out.
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
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference
from tasks.evaluation.compare import ROLES, Evaluation, Marks, compare_by_condition, read_official_marks
from tasks.evaluation.score import convert_to_shares
from tasks.rows.tables import read_asked_questions
from tasks.run import Run
from warehouse.page.comparison import name_whole

ENCODER_PAIRS = Stage(name="encoder-pairs", version="1")
PAIRS = "pairs.json"
CONDITIONS = ("memory", "oracle")
MOST_IN_ALL_PAIRS = 5  # ten pairs


@dataclass(frozen=True, kw_only=True)
class EncoderPairsKey:
    """Which encoders by the names they were asked for by, under which conditions, and how many are compared each with
    each."""

    names: tuple[str, ...]
    conditions: tuple[str, ...]
    most_in_all_pairs: int


@dataclass(frozen=True)
class _Side:
    """One encoder's answers to a benchmark as marks by condition and number of items."""

    name: str
    encoder: str
    marks: Marks


@stage_task(name="compare-encoders")
def compare_encoders(run: Run, evaluations: Sequence[Evaluation]) -> Reference | None:
    """Compare the encoders of a run on each benchmark, in pairs; None where there is one only.

    Up to five are compared each with each, more with the last one alone; what is left out is said.
    """
    known = {(each.benchmark, each.encoder.fingerprint): each for each in reversed(evaluations)}
    different = [each for each in evaluations if known[each.benchmark, each.encoder.fingerprint] is each]
    if len({each.encoder.fingerprint for each in different}) < 2:
        return None
    part = EncoderPairsKey(
        names=tuple(_name_of(each) for each in different),
        conditions=CONDITIONS,
        most_in_all_pairs=MOST_IN_ALL_PAIRS,
    )

    def make(artefact: Partial) -> None:
        benchmarks = dict.fromkeys(each.benchmark for each in different)
        found = [_on_benchmark([each for each in different if each.benchmark == name]) for name in benchmarks]
        with artefact.open_file(PAIRS) as path:
            path.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")

    inputs = {
        f"{role}-{place}": getattr(each, role) for place, each in enumerate(different) for role in ("encoder", *ROLES)
    }
    made = run_stage(run, ENCODER_PAIRS, part, inputs, make)
    if get_plan() is None:
        _tell(read_pairs(made))
    return made


def read_pairs(pairs: Reference | None) -> list[dict[str, Any]]:
    """Read the comparisons, one benchmark each: `benchmark`, `metric`, `rows`, and `left_out` in words or None."""
    return json.loads((pairs.folder / PAIRS).read_text(encoding="utf-8")) if pairs else []


def list_pairs(sides: Sequence[Any], *, most: int = MOST_IN_ALL_PAIRS) -> list[tuple[Any, Any]]:
    """All pairs of up to `most`; of more, the last one with each of the others."""
    if len(sides) <= most:
        return list(combinations(sides, 2))
    return [(sides[-1], each) for each in sides[:-1]]


def _on_benchmark(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Compare the encoders that one benchmark was asked; p-values are adjusted over all the pairs (Holm)."""
    benchmark, questions = evaluations[0].benchmark, read_asked_questions(evaluations[0].questions.folder)
    metric, sides = "", []
    for each in evaluations:
        metric, marks = read_official_marks(each.predictions.folder, each.scores.folder)
        shown = {key: value for key, value in marks.items() if key[0] in CONDITIONS}
        sides.append(_Side(_name_of(each), each.encoder.fingerprint, shown))
    pairs = list_pairs(sides)
    family = [row for one, other in pairs for row in _rows(one, other, questions, benchmark=benchmark)]
    return {
        "benchmark": benchmark,
        "metric": metric,
        "rows": [convert_to_shares(row) for row in add_words(family)],
        "left_out": _left_out(sides, num_pairs=len(pairs)),
    }


def _rows(one: _Side, other: _Side, questions: Sequence[Mapping[str, Any]], *, benchmark: str) -> Iterable[dict]:
    """The first minus the second over the whole benchmark, condition by condition."""
    rows = compare_by_condition(one.marks, other.marks, questions, benchmark=benchmark)
    named = {"first": one.name, "second": other.name}
    named |= {"first_encoder": one.encoder, "second_encoder": other.encoder}
    whole = name_whole(rows)
    yield from (row | named for row in rows if row["split"] == whole)


def _left_out(sides: Sequence[_Side], *, num_pairs: int) -> str | None:
    num_all = len(sides) * (len(sides) - 1) // 2
    if num_pairs == num_all:
        return None
    return (
        f"{len(sides)} encoders: the last one, {sides[-1].name}, is compared with each of the others; the "
        f"{num_all - num_pairs} pairs among those are left out (ask for up to {MOST_IN_ALL_PAIRS} encoders to see all)"
    )


def _name_of(evaluation: Evaluation) -> str:
    """The name that an encoder was asked for by; of a folder its last part."""
    return Path(evaluation.name).name


def _tell(found: Sequence[Mapping[str, Any]]) -> None:
    """Log which encoder is better than which."""
    for each in found:
        for row in each["rows"]:
            interval = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            get_stage_logger().info(
                "%s, %s k=%s: %s against %s: %s, %+.1f points%s, p = %.3f",
                *(each["benchmark"], row["condition"], row["k"], row["first"], row["second"], row["word"]),
                *(100 * row["value"], interval, row["p_adjusted"]),
            )
        if each["left_out"]:
            get_stage_logger().info("%s: %s", each["benchmark"], each["left_out"])
