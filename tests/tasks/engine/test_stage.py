import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import name_stage, report_progress
from tasks.engine.workers import Progress
from warehouse.connection import open_warehouse
from warehouse.schemas import make_schema

NAMES = [f"part-{number:05d}" for number in range(4)]


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    min_judge_score: float = 0.7
    names: tuple[str, ...] = ("ungrounded",)


def sample_shard(name: str) -> pa.Table:
    return pa.table({"sample_id": [f"{name}-a", f"{name}-b"]}, schema=make_schema("sample"))


def make_samples(made: list[str], *, stop_at: str | None = None) -> Callable[[Partial], None]:
    def make(partial: Partial) -> None:
        for name in NAMES:
            if name in partial.list_finished():
                continue
            if name == stop_at:
                raise RuntimeError("the run was interrupted")
            partial.write_shard(name, sample_shard(name))
            made.append(name)

    return make


def writes(table: pa.Table) -> Callable[[Partial], None]:
    def make(partial: Partial) -> None:
        partial.write_shard("part-00000", table)

    return make


def filter_stage(run: RunRef, make: Callable[[Partial], None], **changes) -> Reference:
    recipe = changes.pop("recipe", FilterRecipe())
    inputs = {"drafts": Reference(stage="synthesise", fingerprint=changes.pop("drafts", "aaaa"), uri="", num_rows=0)}
    declared: dict[str, Any] = {"name": "filter", "table": "sample", "version": "1"}
    stage = Stage(**(declared | changes))
    return run_stage(run, stage, recipe, inputs, make)


def rows(run: RunRef, sql: str) -> list[tuple]:
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        return con.execute(sql).fetchall()


def test_what_was_made_is_reused_and_the_log_says_so(run: RunRef, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    made: list[str] = []
    first = filter_stage(run, make_samples(made))
    again = filter_stage(replace(run, run_id="run-2"), make_samples(made))
    assert again == first
    assert (made, first.num_rows) == (NAMES, 8)
    assert [path.name for path in first.list_shards()] == [f"{name}.parquet" for name in NAMES]
    [begins, told, again_told] = [record.getMessage() for record in caplog.records]
    assert begins == "filter: begins"
    assert re.fullmatch(rf"filter: made 8 rows in \d+\.\d s \[filter {first.fingerprint}\]", told)
    why = "same recipe, same inputs, 4 shards verified"
    assert again_told == f"filter: reused 8 rows ({why}) [filter {first.fingerprint}]"
    assert rows(run, "SELECT count(*) FROM sample") == [(8,)]
    assert rows(run, "SELECT run_id, action FROM run_stage ORDER BY run_id") == [("run-1", "made"), ("run-2", "reused")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"drafts": "bbbb"}, "input `drafts` changed from aaaa to bbbb"),
        ({"recipe": FilterRecipe(min_judge_score=0.8)}, "recipe field `min_judge_score` changed from 0.7 to 0.8"),
        ({"version": "2"}, "version changed from 1 to 2"),
    ],
)
def test_what_is_made_again_says_what_changed(run: RunRef, caplog, changes: dict, why: str) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    filter_stage(run, make_samples([]))
    filter_stage(run, make_samples([]), **changes)
    assert f" s (differs from the nearest one: {why}) [filter" in caplog.text


def test_an_interrupted_artefact_continues_and_nothing_is_made_twice(run: RunRef, caplog) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    made: list[str] = []
    with pytest.raises(RuntimeError):
        filter_stage(run, make_samples(made, stop_at=NAMES[3]))
    assert rows(run, "SELECT action, reason FROM run_stage") == [
        ("failed", "RuntimeError: the run was interrupted"),
    ]
    filter_stage(run, make_samples(made))
    assert made == NAMES
    assert re.search(r"continued 8 rows in \d+\.\d s \(3 of 4 shards were there\)", caplog.text)
    assert rows(run, "SELECT action FROM run_stage") == [("continued",)]


def test_a_flipped_byte_means_made_again_and_the_log_says_why(run: RunRef, caplog) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    made: list[str] = []
    reference = filter_stage(run, make_samples(made))
    shard = reference.list_shards()[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert filter_stage(run, make_samples(made)) == reference
    assert made == [*NAMES, NAMES[1]]
    assert f"begins (again: {shard.name} differs from its record" in caplog.text
    assert rows(run, "SELECT count(*), count(DISTINCT sample_id) FROM sample") == [(8, 8)]


def test_a_shard_is_hashed_once_whether_made_or_reused(run: RunRef) -> None:
    opened: list[str] = []

    def note(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).startswith(str(run.context.store)):
            opened.append(Path(arguments[0]).name)

    sys.addaudithook(note)  # hears of every file that Python opens, and not of those that Arrow or DuckDB do
    for _ in ("made", "reused"):
        opened.clear()
        filter_stage(run, make_samples([]))
        assert sorted(name for name in opened if name.endswith(".parquet")) == [f"{name}.parquet" for name in NAMES]


def test_a_lost_store_is_made_anew_beside_the_old_warehouse(run: RunRef) -> None:
    filter_stage(run, make_samples([]))
    moved = replace(run, context=replace(run.context, store=run.context.root / "other"))
    filter_stage(moved, writes(sample_shard("new")))
    assert rows(run, "SELECT sample_id FROM sample ORDER BY 1") == [("new-a",), ("new-b",)]


def test_where_and_how_a_run_works_does_not_change_what_it_makes(run: RunRef, tmp_path: Path, make_context) -> None:
    other = make_context(tmp_path / "elsewhere", num_actors=7)
    other = replace(other, device="cuda", batch_size=1, rows_per_shard=3, cpus_per_actor=3, train_workers=9)
    first = filter_stage(run, make_samples([]))
    second = filter_stage(RunRef(run_id="x", recipe_name="y", context=other), make_samples([]))
    assert first.fingerprint == second.fingerprint
    assert first.uri != second.uri
    record = json.loads((first.folder / "record.json").read_text())
    assert str(run.context.root) not in json.dumps(record)


def test_a_shard_that_is_not_of_its_table_is_refused_with_the_column(run: RunRef) -> None:
    with pytest.raises(
        ValueError, match=r"part-00000\.parquet of filter: sample_id is string in sample, the shard has int64"
    ):
        filter_stage(run, writes(pa.table({"sample_id": [1]})))
    with pytest.raises(ValueError, match="wrote no shard"):
        filter_stage(run, lambda partial: None, version="2")


def test_a_shard_may_hold_rows_of_another_table(run: RunRef) -> None:
    dropped = pa.table(
        {"file": ["items.jsonl"], "row": [3], "reason": ["no text"], "detail": [None]},
        schema=make_schema("dropped_row"),
    )

    def make(partial: Partial) -> None:
        partial.write_shard("part-00000", sample_shard("a"))
        partial.write_shard("dropped-00000", dropped, rows_of="dropped_row")

    filter_stage(run, make)
    assert rows(run, "SELECT reason FROM dropped_row") == [("no text",)]
    assert rows(run, "SELECT count(*) FROM sample") == [(2,)]


def test_two_runs_that_want_one_artefact_make_it_once(run: RunRef) -> None:
    script, root = str(Path(__file__).with_name("one_artefact.py")), str(run.context.root)
    command = [sys.executable, script, root]
    with subprocess.Popen([*command, "run-1"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "began\n"
        second = subprocess.run([*command, "run-2"], timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert [path.name for path in run.context.root.glob("made-by-*")] == ["made-by-run-1"]
    found = rows(run, "SELECT run_id, action, reason FROM run_stage ORDER BY run_id")
    assert [row[:2] for row in found] == [("run-1", "made"), ("run-2", "reused")]
    assert "made by another run while this one waited" in found[1][2]


def test_progress_is_logged_now_and_then_and_at_the_end(caplog) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    on_done = report_progress(every_seconds=60)
    for done in (1, 2, 3):
        with name_stage("judge"):
            on_done(Progress(str(done), None, done=done, total=3, seconds=0.5 * done, num_workers=0))
    assert [record.getMessage() for record in caplog.records] == [
        "judge: 3 of 3 shards, 2.00 a second, 0 s remain",
    ]


def test_the_remaining_time_is_that_of_shards_that_wait_for_no_model(caplog) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    on_done = report_progress(every_seconds=0)
    for done, seconds in enumerate((40.0, 41.0, 43.0, 45.0, 47.0), start=1):  # two workers load for 40 s
        on_done(Progress(str(done), None, done=done, total=6, seconds=seconds, num_workers=2))
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 6 shards",
        "2 of 6 shards",
        "3 of 6 shards, 0.50 a second, 6 s remain",
        "4 of 6 shards, 0.50 a second, 4 s remain",
        "5 of 6 shards, 0.50 a second, 2 s remain",
    ]


@pytest.mark.usefixtures("prefect_server")
def test_under_prefect_the_stage_shows_a_table_and_prefect_reuses_nothing(run: RunRef) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    bodies: list[int] = []

    @stage_task()
    def filter_qa(run: RunRef) -> Reference:
        bodies.append(1)
        return filter_stage(run, make_samples([]))

    @flow
    def story() -> Reference:
        filter_qa(run)
        return filter_qa(run)

    reference = story()
    assert len(bodies) == 2
    with get_client(sync_client=True) as client:
        shown = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["stage-filter"])))
    texts = {artifact.description for artifact in shown}
    assert texts == {
        "filter made, because there was no artefact yet", "filter reused: same recipe, same inputs, 4 shards verified",
    }  # fmt: skip
    assert all(reference.fingerprint in str(artifact.data) for artifact in shown)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_result_that_was_continued_with_other_libraries_says_so(
    run: RunRef, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_damaged: bool
) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    monkeypatch.setattr("tasks.engine.stage.list_libraries", lambda: {"torch": "2.13.0", "pillow": "12.0"})
    if is_damaged:
        [shard, *_] = filter_stage(run, make_samples([])).list_shards()
        shard.write_bytes(b"damaged")
    else:
        with pytest.raises(RuntimeError):
            filter_stage(run, make_samples([], stop_at=NAMES[1]))
    monkeypatch.setattr("tasks.engine.stage.list_libraries", lambda: {"torch": "2.14.0", "pillow": "12.0"})
    reference = filter_stage(run, make_samples([]))
    record = json.loads((reference.folder / "record.json").read_text())
    assert record["libraries"] == {"torch": "2.13.0 and 2.14.0", "pillow": "12.0"}
    assert "filter: continues with other libraries: torch 2.13.0 and 2.14.0" in caplog.text
