"""How long a stage may take and how often it is tried: as the settings say, under Prefect and on Ray."""

import ast
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from prefect import flow

from tasks.engine.attempts import (
    LONGEST_DELAY,
    MOST_RETRIES,
    STAGES,
    RetriesByStage,
    SecondsByStage,
    StageTimedOut,
    list_delays,
)
from tasks.engine.context import Context, ParameterRefused, RunRef
from tasks.engine.on_ray import map_shards
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.workers import Workers
from warehouse.connection import open_warehouse
from warehouse.schemas import make_schema

ROOT = Path(__file__).parents[2]
NAMES = [f"part-{number:05d}" for number in range(3)]


@dataclass(frozen=True)
class Key:
    least: float = 0.5


def limit(run: RunRef, *, seconds: str, retries: str) -> RunRef:
    changes = {"stage_seconds": SecondsByStage.read(seconds), "stage_retries": RetriesByStage.read(retries)}
    return replace(run, context=replace(run.context, **changes))


def make_on_ray(run: RunRef, folder: Path, *, hangs: int) -> Reference:
    """Make three shards; the work on the second hangs so many times before it is done."""

    def make(partial: Partial) -> None:
        def make_worker():
            def work(name: str) -> None:
                with (folder / f"{name}.txt").open("a") as file:
                    file.write("begun\n")
                if name == NAMES[1] and len((folder / f"{name}.txt").read_text().split()) <= hangs:
                    time.sleep(60)
                partial.write_shard(name, pa.table({"sample_id": [name]}, schema=make_schema("sample")))

            return work

        waiting = {name: name for name in NAMES if name not in partial.list_finished()}
        map_shards(make_worker, waiting, workers=Workers(num_actors=1))

    return run_stage(run, Stage(name="judge", version="1", table="sample"), Key(), {}, make)


@pytest.fixture
def ready_worker(small_ray: None, prefect_server: object) -> None:
    """A worker that is up, so that the time of a stage is not that of its start."""
    map_shards(lambda: lambda shard: None, {"a": 0}, workers=Workers(num_actors=1))


@pytest.mark.usefixtures("ready_worker")
def test_a_stage_that_hangs_is_ended_and_tried_again_and_what_it_finished_is_kept(run: RunRef, tmp_path: Path) -> None:
    @stage_task(name="judge-qa")
    def judge(run: RunRef) -> Reference:
        return make_on_ray(run, tmp_path, hangs=1)

    @flow
    def story() -> Reference:
        return judge(limit(run, seconds="1e6,judge-qa=10", retries="0,judge-qa=4"))

    started = time.monotonic()
    assert story().num_rows == 3
    assert time.monotonic() - started < 60  # not as long as it hangs
    begun = {name: len((tmp_path / f"{name}.txt").read_text().split()) for name in NAMES}
    assert begun[NAMES[0]] == 1 and begun[NAMES[1]] > 1


@pytest.mark.usefixtures("ready_worker")
def test_a_stage_that_hangs_in_every_try_says_which_setting_ended_it(run: RunRef, tmp_path: Path) -> None:
    @stage_task(name="judge-qa", retries=0)
    def judge(run: RunRef) -> Reference:
        return make_on_ray(run, tmp_path, hangs=9)

    @flow
    def story(seconds: str, retries: str) -> Reference:
        return judge(limit(run, seconds=seconds, retries=retries))

    said = r"judge-qa took longer than 6 s, which COMEM_STAGE_SECONDS allows \(tries: 1\). What it finished"
    with pytest.raises(StageTimedOut, match=said):
        story("6", "judge-qa=0")
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        [(action, reason)] = con.sql("SELECT action, reason FROM run_stage").fetchall()
    assert (action, reason.partition(":")[0]) == ("failed", "CancelledError")
    (tmp_path / f"{NAMES[1]}.txt").write_text("begun\n" * 9)
    assert story("60", "judge-qa=0").num_rows == 3
    assert (tmp_path / f"{NAMES[0]}.txt").read_text() == "begun\n"


def test_numbers_by_stage_are_read() -> None:
    seconds = SecondsByStage.read(" 3600 , train-encoder = 86400")
    assert [seconds.of(stage) for stage in ("judge-qa", "train-encoder")] == [3600, 86400]
    assert hash(seconds) == hash(SecondsByStage.read("3600,train-encoder=86400"))  # as the context has to be
    only = RetriesByStage.read("judge-qa=0")
    assert [only.of(stage) for stage in ("judge-qa", "train-encoder")] == [0, None]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("judge=5", "there is no stage 'judge'; did you mean judge-qa?"),
        ("judge-qa=5,judge-qa=6", "it gives judge-qa twice"),
        ("5,6", "it gives all stages twice"),
        ("judge-qa=", "'' is not a number of seconds above 0; expected one for all stages, or STAGE=NUMBER"),
        ("soon", "'soon' is not a number of seconds above 0"),
        ("judge-qa=0", "'0' is not a number of seconds above 0"),
        ("nan", "'nan' is not a number of seconds above 0"),
        ("inf", "'inf' is not a number of seconds above 0"),
        ("5,", "'' is not a number of seconds above 0"),
        ("judge-qa=5=6", "there is no stage 'judge-qa=5'"),
    ],
)
def test_what_is_no_limit_is_refused_with_the_setting_before_a_run(tmp_path: Path, given: str, fault: str) -> None:
    with pytest.raises(ParameterRefused) as refused:
        Context.from_environment({"COMEM_ROOT": str(tmp_path), "COMEM_STAGE_SECONDS": given})
    assert str(refused.value).startswith(f"COMEM_STAGE_SECONDS is {given!r}: {fault}")


@pytest.mark.parametrize("given", ["1.5", "-1", "51", "judge-qa=often"])
def test_retries_are_counted(tmp_path: Path, given: str) -> None:
    with pytest.raises(ParameterRefused, match=r"COMEM_STAGE_RETRIES is .* is not a whole number from 0 to 50"):
        Context.from_environment({"COMEM_ROOT": str(tmp_path), "COMEM_STAGE_RETRIES": given})


@pytest.mark.usefixtures("prefect_server")
def test_a_further_try_waits_longer_and_prefect_takes_as_many_as_may_be_named(run: RunRef) -> None:
    assert list_delays(0) == [] and list_delays(3) == [1, 2, 4]
    assert list_delays(MOST_RETRIES)[-1] == LONGEST_DELAY

    @stage_task(name="judge-qa")
    def judge(run: RunRef) -> int:
        return 7

    @flow
    def story() -> int:
        return judge(limit(run, seconds="60", retries=str(MOST_RETRIES)))

    assert story() == 7


def test_every_stage_can_be_named() -> None:
    called = {
        keyword.value.value
        for path in (ROOT / "tasks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stage_task"
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }
    assert called == STAGES
