"""The version of a stage is raised: what rests on it is asked again, and the version is named as the cause."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.re_evaluate import re_evaluate
from tasks.data.index import INDEX
from tasks.data.retrieve import RETRIEVAL
from tasks.engine.reuse import Stage
from tasks.evaluation.exam import PREDICTIONS
from tasks.evaluation.judge import JUDGEMENTS
from tasks.memory.encode import BANK

FEW = 4
EVERY = ("none", "text", "memory", "empty")
RAISED: dict[str, tuple[Stage, tuple[str, ...]]] = {
    "nothing": (Stage(name="nothing", version="1"), ()),
    "index": (INDEX, ("text", "memory")),
    "retrieval": (RETRIEVAL, ("text", "memory")),
    "bank": (BANK, ("memory",)),
    "predictions": (PREDICTIONS, EVERY),
    "judgements": (JUDGEMENTS, ()),
}
"""Each stage, and the conditions under which an answer rests on it."""


@pytest.fixture(scope="module")
def evaluate(
    tmp_path_factory: pytest.TempPathFactory, own_folder: Path, prefect_server: None, small_ray: None, server: str
) -> Callable[[], Path]:
    """Return a function that evaluates the shipped encoder in one store, which has an evaluation already."""
    root = tmp_path_factory.mktemp("versions")

    def evaluate_again() -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COMEM_ROOT", str(root))
            patch.setenv("COMEM_JUDGE_URL", f"{server}/v1")
            patch.setenv("COMEM_JUDGE_KEY", "right-key")
            re_evaluate(
                encoders=["tiny-encoder"],
                benchmarks=["countries-vqa"],
                knowledge=str(own_folder),
                conditions=list(EVERY),
                judge="served:rule",
                limit=FEW,
            )
        return root / ".comem"

    evaluate_again()
    return evaluate_again


def folder_of_last(store: Path, stage: str) -> Path:
    return max(store.glob(f"{stage}/*/record.json"), key=lambda path: json.loads(path.read_text())["created"]).parent


def record_of_last(store: Path, stage: str) -> dict[str, Any]:
    return json.loads((folder_of_last(store, stage) / "record.json").read_text())


@pytest.mark.parametrize("raised", RAISED)
def test_a_raised_version_asks_again_and_is_named_as_the_cause(
    raised: str, evaluate: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, conditions = RAISED[raised]
    monkeypatch.setitem(vars(stage), "version", "raised")
    place = evaluate()
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        [run_id] = con.execute("SELECT run_id FROM run ORDER BY started DESC LIMIT 1").fetchall()[0]
        actions = dict(con.execute("SELECT stage, action FROM run_stage WHERE run_id = ?", [run_id]).fetchall())
    if raised == "nothing":
        assert actions.pop("evaluation-report") == "made" and set(actions.values()) == {"reused"}
        return
    assert actions[raised] == "made"
    comparison = folder_of_last(place / "store", "comparison")
    causes = json.loads((comparison / "reasons.json").read_text())["changes"]
    assert [cause["stage"] for cause in causes if cause["now"] == "version raised"] == [raised]
    assert "version raised" in (comparison / "comparison.html").read_text(encoding="utf-8")
    if stage is JUDGEMENTS:
        record = record_of_last(place / "store", "judgements")
        assert record["num_rows"] > 0 and record["measured"]["judged_before"] == 0
        assert actions["predictions"] == "reused"
    else:
        record = record_of_last(place / "store", "predictions")
        assert record["measured"]["answered_before"] == FEW * (len(EVERY) - len(conditions))
