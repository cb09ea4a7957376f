"""Marks predictions, and turns the marks into rows of the score table: values, intervals and counts, in percent.

Reads rows (mappings) with the columns of `prediction` and `question`, wherever they are stored. The `split` of a score
row is a split of the benchmark, a group of splits, or `all`. A slice is appended to it: `unseen_entity/language=fr`,
`all/attribute=capital`, `all/clean=yes`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from comem_core.evaluation.conditions import CONDITIONS
from comem_core.evaluation.metrics import Gold, Measure, Metric
from comem_core.evaluation.metrics.totals import Total
from comem_core.evaluation.statistics import Resampling, score_intervals

Row = Mapping[str, Any]
Unanswered = Literal["left_out", "wrong"]

ALL = "all"
COUNTED = ("coverage", "truncated", "unparsable", "gated")
"""Shares in percent, without an interval: questions that were answered, answers that were cut off at the token limit,
answers in which the first metric found nothing to score, and, where a gate chooses, answers without memory."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the predictions of one benchmark are scored. The first metric is the official one.

    A judge gives the marks of the measures in `judged`; an answer without such a mark is left out of that score.
    `unanswered` says what happens to questions without a prediction: they are left out, or scored as wrong.
    """

    metrics: tuple[Metric, ...]
    total: Total
    cluster_by: str = "image_id"
    by: tuple[str, ...] = ()
    unanswered: Unanswered = "left_out"
    resampling: Resampling | None = None
    judged: tuple[Measure, ...] = ()


def read_gold(question: Row) -> Gold:
    """Read the gold answers from a row of the question table."""
    return Gold(
        question_type=question["question_type"],
        answers=tuple(question["answers"] or ()),
        answer_low=question["answer_low"],
        answer_high=question["answer_high"],
        options=tuple(question["options"] or ()),
        right_option=question["right_option"],
        entity_id=question["entity_id"],
    )


def mark_rows(predictions: Iterable[Row], questions: Iterable[Row], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Return a row per prediction and metric: `prediction_id, metric, value` (0.0 to 1.0), `unparsable`.

    Raises ValueError for a prediction of an unknown question.
    """
    gold = {question["question_id"]: read_gold(question) for question in questions}
    rows = []
    for prediction in predictions:
        if prediction["question_id"] not in gold:
            raise ValueError(
                f"a prediction answers {prediction['question_id']!r}, which is not among {len(gold)} questions"
            )
        texts = (prediction["answer_raw"] or "", prediction["answer"] or "")
        for metric in metrics:
            scored = metric.mark(*texts, gold[prediction["question_id"]])
            rows.append(
                {
                    "prediction_id": prediction["prediction_id"],
                    "metric": metric.name,
                    "value": scored.correct,
                    "unparsable": scored.unparsable,
                }
            )
    return rows


def score_rows(
    predictions: Iterable[Row], questions: Iterable[Row], marks: Iterable[Row], scoring: Scoring
) -> list[dict[str, Any]]:
    """Return the score rows of every condition and k of one benchmark, sorted.

    Predictions need `prediction_id, benchmark, question_id, condition, k, prompt_tokens, truncated`, and
    `memory_vectors` under a condition in which a gate chooses. Questions need
    `question_id, split` and the columns of `scoring.cluster_by` and `scoring.by`. Marks are rows from `mark_rows`.
    There are scores for each split, each group of splits, and `all` where there is more than one split. A value of None
    in a column of `by` makes no slice. Raises ValueError for two predictions of one question under one condition, and
    where there are no predictions.
    """
    asked = list(questions)
    marks_of = index_marks(marks)
    rows = []
    for (benchmark, condition, k), answered in sorted(group_predictions(predictions, asked).items()):
        named = {"benchmark": benchmark, "condition": condition, "k": k}
        marked = _Marked.of(answered, marks_of, scoring)
        for split, part in cut_into_parts(asked, scoring.total, scoring.by).items():
            in_part = [answered[question["question_id"]] for question in part if question["question_id"] in answered]
            if in_part and not _is_whole_of_one_split(split, in_part, scoring):
                rows += [named | row for row in _score_part(split, part, in_part, marked, scoring)]
    return rows


@dataclass(frozen=True)
class _Marked:
    """The marks of one condition: V metrics and judged measures for Q answered questions.

    The last column of `values_VQ` is zeros, for questions without an answer. Answers without a judged mark have NaN.
    """

    place_of: Mapping[str, int]
    values_VQ: np.ndarray
    unparsable_Q: np.ndarray

    @classmethod
    def of(cls, answered: Mapping[str, Row], marks_of: Mapping[str, Mapping[str, Row]], scoring: Scoring) -> "_Marked":
        marks = [marks_of[row["prediction_id"]] for row in answered.values()]
        values = [[*(each[metric.name]["value"] for each in marks), 0.0] for metric in scoring.metrics]
        for measure in scoring.judged:
            found = (each.get(measure.name) for each in marks)
            values.append([*(np.nan if mark is None else mark["value"] for mark in found), 0.0])
        unparsable = np.array([bool(each[scoring.metrics[0].name]["unparsable"]) for each in marks])
        return cls({question_id: place for place, question_id in enumerate(answered)}, np.array(values), unparsable)

    def places(self, questions: Sequence[Row]) -> np.ndarray:
        return np.array([self.place_of.get(question["question_id"], -1) for question in questions])


def group_predictions(
    predictions: Iterable[Row], questions: Iterable[Row]
) -> dict[tuple[str, str, int], dict[str, Row]]:
    """Join predictions to their questions: (benchmark, condition, k) -> question_id -> joined row.

    Raises ValueError for a prediction of an unknown question, for two predictions of one question, and for none at all.
    """
    question_of = {question["question_id"]: question for question in questions}
    groups: dict[tuple[str, str, int], dict[str, Row]] = {}
    for prediction in predictions:
        question_id = prediction["question_id"]
        if question_id not in question_of:
            raise ValueError(f"a prediction answers {question_id!r}, which is not among {len(question_of)} questions")
        key = (prediction["benchmark"], prediction["condition"], int(prediction["k"] or 0))
        answered = groups.setdefault(key, {})
        if question_id in answered:
            raise ValueError(f"two predictions of question {question_id!r} under {key}; score each run on its own")
        answered[question_id] = {**prediction, **question_of[question_id], "condition": key[1], "benchmark": key[0]}
    if not groups:
        raise ValueError("no predictions: there is nothing to score")
    return groups


def index_marks(marks: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Index marks: prediction_id -> metric -> row."""
    indexed: dict[str, dict[str, Row]] = {}
    for mark in marks:
        indexed.setdefault(mark["prediction_id"], {})[mark["metric"]] = mark
    return indexed


def cut_into_parts(questions: Sequence[Row], total: Total, by: Sequence[str]) -> dict[str, list[Row]]:
    """Cut questions into splits, groups of splits and `all`; do the same for every value of each column in `by`."""
    rows = sorted(questions, key=lambda row: row["question_id"])
    parts = _cut_by_split(rows, total, suffix="")
    for column in by:
        by_value: dict[str, list[Row]] = {}
        for row in rows:
            if row[column] is not None:
                by_value.setdefault(row[column], []).append(row)
        for value in sorted(by_value):
            parts |= _cut_by_split(by_value[value], total, suffix=f"/{column}={value}")
    return parts


def _cut_by_split(rows: Sequence[Row], total: Total, *, suffix: str) -> dict[str, list[Row]]:
    splits = sorted({row["split"] or ALL for row in rows})
    names: dict[str, Callable[[str], bool]] = {split: split.__eq__ for split in splits}
    names |= {group: total.groups[group].__contains__ for group in total.groups}
    parts = {name + suffix: [row for row in rows if is_in(row["split"] or ALL)] for name, is_in in names.items()}
    whole = {ALL + suffix: list(rows)} if len(splits) > 1 else {}
    return {name: part for name, part in parts.items() if part} | whole


def _is_whole_of_one_split(part: str, answered: Sequence[Row], scoring: Scoring) -> bool:
    """Say whether a part is named `all` but only one split of it was answered: that would not be a total."""
    if part.split("/")[0] != ALL or scoring.unanswered == "wrong":
        return False
    return len({row["split"] for row in answered}) == 1


def _score_part(
    split: str,
    part: Sequence[Row],
    answered: Sequence[Row],
    marked: _Marked,
    scoring: Scoring,
) -> list[dict[str, Any]]:
    counted = part if scoring.unanswered == "wrong" else answered
    tokens = sum(row["prompt_tokens"] for row in answered) / len(answered)
    shared = {"split": split, "n": len(counted), "prompt_tokens_mean": tokens}
    values_VN = marked.values_VQ[:, marked.places(counted)]
    num_metrics = len(scoring.metrics)
    rows = [shared | row for row in _score_measures(counted, values_VN[:num_metrics], scoring.metrics, scoring)]
    answered_VN = marked.values_VQ[:, marked.places(answered)]
    for measure, values_N, of_answers in zip(
        scoring.judged, values_VN[num_metrics:], answered_VN[num_metrics:], strict=True
    ):
        if not np.isnan(of_answers).all():
            kept = np.flatnonzero(~np.isnan(values_N))
            judged = [counted[place] for place in kept.tolist()]
            scored = _score_measures(judged, values_N[None, kept], (measure,), scoring)
            rows += [shared | {"n": len(judged)} | row for row in scored]
    counts = {
        "coverage": len(answered) / len(part),
        "truncated": sum(bool(row["truncated"]) for row in answered) / len(answered),
        "unparsable": marked.unparsable_Q[marked.places(answered)].sum() / len(answered),
    }
    condition = CONDITIONS.get(answered[0]["condition"])  # rows may be of another program, under names of its own
    if condition is not None and condition.chooses:
        counts["gated"] = sum(not row["memory_vectors"] for row in answered) / len(answered)
    return rows + [
        shared | {"metric": name, "value": float(counts[name] * 100), "low": None, "high": None}
        for name in COUNTED
        if name in counts
    ]


def _score_measures(
    counted: Sequence[Row], values_VN: np.ndarray, measures: Sequence[Measure], scoring: Scoring
) -> list[dict[str, Any]]:
    """Score V measures on the same N questions; return `metric, value, low, high` for each."""
    splits = [row["split"] or ALL for row in counted]
    clusters = [find_cluster(row, scoring.cluster_by) for row in counted]
    split_N = np.array(splits)
    places = {name: np.flatnonzero(split_N == name) for name in dict.fromkeys(splits)}
    intervals = score_intervals(values_VN, clusters, splits=splits, total=scoring.total, resampling=scoring.resampling)
    rows = []
    for measure, values_N, interval in zip(measures, values_VN, intervals, strict=True):
        by_split = {name: values_N[chosen].tolist() for name, chosen in places.items()}
        bounds = {"low": compute_percent(interval.low), "high": compute_percent(interval.high)}
        rows.append({"metric": measure.name, "value": scoring.total.compute_percent(by_split, measure)} | bounds)
    return rows


def find_cluster(row: Row, cluster_by: str) -> str:
    """Return the cluster of a question; a question whose cluster is unknown (null) is a cluster of its own."""
    if row[cluster_by] is None:
        return f"question {row['question_id']}"
    return str(row[cluster_by])


def compute_percent(share: float | None) -> float | None:
    """Convert a fraction to percent, rounded to 2 decimals; None stays None."""
    return None if share is None else round(share * 100, 2)
