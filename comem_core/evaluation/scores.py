"""From predictions to the rows of the score table: values, intervals and counts, in percent.

Reads rows (mappings) with the columns of `prediction` and `question`; knows nothing of where the rows are kept.
A row's `split` is a split of the benchmark, or `all` for the harmonic mean over its splits. A slice on request is
written behind it: `unseen_entity/language=fr`, `all/attribute=capital`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comem_core.evaluation.metrics import final_score, is_unparsable, split_score
from comem_core.evaluation.statistics import Resampling, holm, paired_difference, score_interval

Row = Mapping[str, Any]

ALL = "all"
METRIC = "infoseek"
"""Mean of the official metric for a split, harmonic mean over splits for `all`; percent, rounded to 2 decimals."""
COUNTED = ("truncated", "unparsable")
"""Shares of answers (percent) that were cut off at the token limit, or held nothing to score; no interval."""


def score_rows(
    predictions: Iterable[Row],
    questions: Iterable[Row],
    *,
    by: Sequence[str] = (),
    cluster_by: str = "image_id",
    resampling: Resampling | None = None,
) -> list[dict[str, Any]]:
    """Return the score rows of every benchmark, condition and k, sorted; `by` adds slices (`language`, `attribute`).

    Predictions need `benchmark, question_id, condition, k, answer, correct, prompt_tokens, truncated` (their split is
    the question's); questions need `question_id, split, question_type`, the `cluster_by` column and those of `by`.
    `all` is there only with two splits or more. Raises ValueError for a prediction of an unknown question, two
    predictions of one question, or none at all.
    """
    groups = _grouped(predictions, questions)
    rows = []
    for (benchmark, condition, k), answered in sorted(groups.items()):
        named = {"benchmark": benchmark, "condition": condition, "k": k}
        for split, part in _parts(answered, by).items():
            rows += [named | row for row in _rows_of(split, part, cluster_by=cluster_by, resampling=resampling)]
    return rows


def compare_conditions(
    predictions: Iterable[Row],
    questions: Iterable[Row],
    pairs: Sequence[tuple[str, str]],
    *,
    cluster_by: str = "image_id",
    resampling: Resampling | None = None,
) -> list[dict[str, Any]]:
    """Compare pairs of conditions on the questions that both answered, by split and over all.

    A row has `benchmark, first, second, split, difference, low, high` (percentage points, first minus second),
    `p_value, p_adjusted` (Holm over the pairs of one benchmark and split), `word` (is the first better, worse or tied)
    and `n`. Raises ValueError when a condition has several k (give one), is missing, or shares no question.
    """
    groups = _grouped(predictions, questions)
    benchmarks = sorted({benchmark for benchmark, _, _ in groups})
    rows = []
    for benchmark in benchmarks:
        by_condition = _one_k_each(groups, benchmark)
        families: dict[str, list[dict[str, Any]]] = {}
        for first, second in pairs:
            compared = _compare(by_condition, first, second, cluster_by=cluster_by, resampling=resampling)
            for row in compared:
                families.setdefault(row["split"], []).append({"benchmark": benchmark} | row)
        rows += [row for family in families.values() for row in _with_words(family)]
    return rows


def _grouped(predictions: Iterable[Row], questions: Iterable[Row]) -> dict[tuple[str, str, int], dict[str, Row]]:
    """Join predictions to their questions: (benchmark, condition, k) -> question_id -> joined row."""
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


def _parts(answered: Mapping[str, Row], by: Sequence[str]) -> dict[str, list[Row]]:
    """Cut the answers into splits, all of them, and the same for every value of each column in `by`."""
    rows = [answered[question_id] for question_id in sorted(answered)]
    parts = _by_split(rows, suffix="")
    for column in by:
        values = sorted({row[column] for row in rows if row[column] is not None})
        for value in values:
            parts |= _by_split([row for row in rows if row[column] == value], suffix=f"/{column}={value}")
    return parts


def _by_split(rows: Sequence[Row], *, suffix: str) -> dict[str, list[Row]]:
    splits = sorted({row["split"] for row in rows})
    parts = {split + suffix: [row for row in rows if row["split"] == split] for split in splits}
    return parts | ({ALL + suffix: list(rows)} if len(splits) > 1 else {})


def _rows_of(
    split: str, part: Sequence[Row], *, cluster_by: str, resampling: Resampling | None
) -> list[dict[str, Any]]:
    correct, splits = [row["correct"] for row in part], [row["split"] for row in part]
    clusters = [_cluster(row, cluster_by) for row in part]
    interval = score_interval(correct, clusters, splits=splits, resampling=resampling)
    by_split = {name: [row["correct"] for row in part if row["split"] == name] for name in sorted(set(splits))}
    shared = {
        "split": split,
        "n": len(part),
        "prompt_tokens_mean": sum(row["prompt_tokens"] for row in part) / len(part),
    }
    value = final_score(by_split) if len(by_split) > 1 else split_score(correct)
    rows = [shared | {"metric": METRIC, "value": value, "low": _percent(interval.low), "high": _percent(interval.high)}]
    counts = Counter(
        truncated=sum(bool(row["truncated"]) for row in part),
        unparsable=sum(is_unparsable(row["answer"] or "", row["question_type"]) for row in part),
    )
    for metric in COUNTED:
        rows.append(shared | {"metric": metric, "value": counts[metric] / len(part) * 100, "low": None, "high": None})
    return rows


def _one_k_each(groups: Mapping[tuple[str, str, int], dict[str, Row]], benchmark: str) -> dict[str, dict[str, Row]]:
    by_condition: dict[str, dict[str, Row]] = {}
    for (name, condition, k), answered in sorted(groups.items()):
        if name != benchmark:
            continue
        if condition in by_condition:
            raise ValueError(f"condition {condition!r} was run with several k, {k} among them; compare one k at a time")
        by_condition[condition] = answered
    return by_condition


def _compare(
    by_condition: Mapping[str, dict[str, Row]],
    first: str,
    second: str,
    *,
    cluster_by: str,
    resampling: Resampling | None,
) -> list[dict[str, Any]]:
    for condition in (first, second):
        if condition not in by_condition:
            raise ValueError(f"no prediction under condition {condition!r}; there are {', '.join(by_condition)}")
    common = {key: row for key, row in by_condition[first].items() if key in by_condition[second]}
    if not common:
        raise ValueError(f"conditions {first!r} and {second!r} answered no question in common")
    return [
        _difference_row(split, part, by_condition[second], cluster_by=cluster_by, resampling=resampling)
        | {"first": first, "second": second}
        for split, part in _parts(common, ()).items()
    ]


def _difference_row(
    split: str,
    part: Sequence[Row],
    other: Mapping[str, Row],
    *,
    cluster_by: str,
    resampling: Resampling | None,
) -> dict[str, Any]:
    difference = paired_difference(
        [row["correct"] for row in part],
        [other[row["question_id"]]["correct"] for row in part],
        [_cluster(row, cluster_by) for row in part],
        splits=[row["split"] for row in part],
        resampling=resampling,
    )
    return {"split": split, "difference": difference}


def _with_words(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = holm([row["difference"].p_value for row in family])
    rows = []
    for row, p_adjusted in zip(family, adjusted, strict=True):
        difference = row["difference"]
        rows.append(
            row
            | {
                "difference": round(difference.value * 100, 2),
                "low": _percent(difference.low),
                "high": _percent(difference.high),
                "p_value": difference.p_value,
                "p_adjusted": p_adjusted,
                "word": difference.word(p_adjusted=p_adjusted),
                "n": difference.n,
            }
        )
    return rows


def _cluster(row: Row, cluster_by: str) -> str:
    """Return the cluster of a question; one whose cluster is unknown (null) stands alone."""
    if row[cluster_by] is None:
        return f"question {row['question_id']}"
    return str(row[cluster_by])


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(fraction * 100, 2)
