"""Small files of predictions whose scores anyone can check with a pencil: one for every metric.

The first line of a file names the metric and its scores in percent; each other line has an answer, its gold, its mark
and why.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comem_core.evaluation.authors_compat import find_authors_metric
from comem_core.evaluation.metrics import Gold, Metric
from comem_core.evaluation.metrics.aokvqa import DIRECT_ANSWER, MULTIPLE_CHOICE
from comem_core.evaluation.metrics.choice import CVQA_CHOICE, MRAG_CHOICE
from comem_core.evaluation.metrics.encyclopedic import ENCYCLOPEDIC
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.oven import WORD_PIECES, make_oven_metric
from comem_core.evaluation.metrics.squad import EXACT_MATCH, TOKEN_F1
from comem_core.evaluation.metrics.totals import ALL_QUESTIONS, HARMONIC, Total
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY
from comem_core.evaluation.scores import Scoring, mark_rows, score_rows
from comem_core.knowledge.embedders.weights import find_minilm_folder

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))
METRICS = (
    *(INFOSEEK, VQA_ACCURACY, DIRECT_ANSWER, MULTIPLE_CHOICE, EXACT_MATCH, TOKEN_F1),
    *(MRAG_CHOICE, CVQA_CHOICE, ENCYCLOPEDIC),
)
OVEN = Total(
    within="harmonic",
    across="harmonic",
    groups={"query": ("query_seen", "query_unseen"), "entity": ("entity_seen", "entity_unseen")},
)
TOTALS = {None: ALL_QUESTIONS, "harmonic": HARMONIC, "oven": OVEN}


def lines_of(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return head, rows


def metric_of(head: dict[str, Any], folder: Path) -> Metric:
    if titles := head.get("titles"):
        _write_titles(folder, titles)
    if "authors_of" in head:
        metric = find_authors_metric(head["authors_of"], folder)
        assert metric is not None
        return metric
    return {metric.name: metric for metric in (*METRICS, make_oven_metric(folder))}[head["metric"]]


def _write_titles(folder: Path, titles: dict[str, str]) -> None:
    try:
        (folder / WORD_PIECES).symlink_to(find_minilm_folder())
    except ValueError as missing:
        pytest.skip(f"no word pieces with real words: {missing}")
    rows = [json.dumps({"id": entity_id, "content": title}) + "\n" for entity_id, title in titles.items()]
    (folder / "wikipedia_6m.jsonl").write_text("".join(rows))


def tables_of(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turn golden lines into rows of the tables `prediction` and `question`."""
    predictions, questions = [], []
    for place, row in enumerate(rows):
        names = {"question_id": f"q{place}", "split": row["split"]}
        questions.append(names | vars(Gold(**row["gold"])) | {"image_id": f"i{place}"})
        said = {"answer": row["answer"], "answer_raw": row["answer"], "truncated": False, "prompt_tokens": 1}
        run = {"prediction_id": f"p{place}", "benchmark": "golden", "condition": "memory", "k": 1}
        predictions.append(names | said | run)
    return predictions, questions


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_file_has_the_scores_that_it_names(path: Path, tmp_path: Path):
    head, rows = lines_of(path)
    metric, total = metric_of(head, tmp_path), TOTALS[head.get("total")]
    predictions, questions = tables_of(rows)
    marks = mark_rows(predictions, questions, (metric,))
    for row, mark in zip(rows, marks, strict=True):
        assert mark["value"] == pytest.approx(row["correct"]), row
        assert mark["unparsable"] == row.get("unparsable", False), row
    scoring = Scoring(metrics=(metric,), total=total)
    scores = score_rows(predictions, questions, marks, scoring)
    assert {row["split"]: row["value"] for row in scores if row["metric"] == metric.name} == head["percent"]


def named_metrics() -> Iterator[str]:
    for path in GOLDEN:
        head, _ = lines_of(path)
        yield head.get("metric") or f"authors of {head['authors_of']}"


def test_every_metric_has_a_golden_file():
    authors = ("infoseek", "okvqa", "a-okvqa", "viquae", "mrag-bench", "cvqa", "oven")
    every = {metric.name for metric in METRICS} | {"oven_entity"} | {f"authors of {name}" for name in authors}
    assert sorted(named_metrics()) == sorted(every)
