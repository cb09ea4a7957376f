"""Made predictions are such that every metric has something to find."""

import random
from pathlib import Path

import pytest

from comem_core.evaluation.scores import mark_rows
from comem_core.measures import speed
from comem_core.measures.results import read_results
from comem_core.measures.scoring import (
    AUTHORS_SCORE,
    NUM_PREDICTIONS,
    _write_titles,
    list_metrics,
    make_rows,
    measure_scoring,
)


def test_made_rows_are_scored_by_every_metric(tmp_path: Path):
    names = _write_titles(tmp_path, random.Random(0))
    predictions, questions = make_rows(400, names, seed=0)
    metrics = list_metrics(tmp_path)
    marks = mark_rows(predictions, questions, metrics)
    assert len(metrics) == len({metric.name for metric in metrics}) == 10 + len(AUTHORS_SCORE)
    assert len(marks) == 400 * len(metrics)
    means = {
        metric.name: sum(mark["value"] for mark in marks if mark["metric"] == metric.name) / 400 for metric in metrics
    }
    assert {name: mean for name, mean in means.items() if not 0 < mean < 0.6} == {}
    assert make_rows(5, names, seed=0) == make_rows(5, names, seed=0) != make_rows(5, names, seed=1)


def test_the_time_grows_with_what_is_scored():
    assert 0 < measure_scoring(200) < measure_scoring(2000)


@pytest.mark.slow
def test_bench_writes_how_long_scoring_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/results").mkdir(parents=True)
    speed.main(["--only", "scoring"])
    (row,) = read_results(tmp_path / "docs/results/speed.json")
    assert (row["measure"], row["unit"], row["n"]) == ("score_100k_seconds", "s of one core", NUM_PREDICTIONS)
    assert row["value"] > 0
