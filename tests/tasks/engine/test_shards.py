"""Shards of units: no finished batch is made again, order does not depend on batches, and time can end the work."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference

pytestmark = pytest.mark.usefixtures("small_ray")

UNITS = list(range(20))


@dataclass(frozen=True, kw_only=True)
class Passing:
    version: int = 1


def passing(calls: Path, *, fail_at: int | None = None, slow_until: float = 0.0) -> Callable[[], Work]:
    """Work that passes units on, notes each that it does, dies at one of them, and is slow behind the first few."""

    def make_work() -> Work:
        def work(batch: Sequence[int]) -> pa.Table:
            if fail_at in batch:
                raise RuntimeError(f"unit {fail_at}")
            if max(batch) >= len(UNITS) // 4:
                time.sleep(max(0.0, slow_until - time.time()))
            for unit in batch:
                (calls / f"{unit:03d}-{time.monotonic_ns()}").touch()
            return pa.table({"unit": pa.array(batch, pa.int64())})

        return work

    return make_work


def stage(run: RunRef, make_work: Callable[[], Work], **options: object) -> Reference:
    def make(artefact: Partial) -> None:
        make_shards(run.context, artefact, UNITS, make_work, **options)  # pyright: ignore[reportArgumentType]

    return run_stage(run, Stage(name="passing", version="1"), Passing(), {}, make)


def rows(reference: Reference) -> list[int]:
    return [unit for path in reference.list_shards() for unit in pq.read_table(path)["unit"].to_pylist()]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


@pytest.fixture
def sized(run: RunRef) -> RunRef:
    return replace(run, context=replace(run.context, rows_per_shard=8, batch_size=2, num_actors=1))


def test_a_batch_that_was_finished_before_a_failure_is_not_made_again(sized: RunRef, calls: Path) -> None:
    with pytest.raises(RuntimeError, match="unit 13"):
        stage(sized, passing(calls, fail_at=13))
    before = len(list(calls.iterdir()))
    assert before == 12  # one shard of 8, and two batches of the next
    wider = replace(sized, context=replace(sized.context, batch_size=5))
    made = stage(wider, passing(calls))
    assert rows(made) == UNITS
    assert len(list(calls.iterdir())) == len(UNITS)
    assert not list(made.folder.glob(".*"))


def test_a_batch_that_a_power_failure_cut_is_made_again_with_those_behind_it(sized: RunRef, calls: Path) -> None:
    with pytest.raises(RuntimeError, match="unit 15"):
        stage(sized, passing(calls, fail_at=15))
    whole, cut, behind = sorted((sized.context.store / "passing").glob("*.partial/.batches/*/*.parquet"))
    cut.write_bytes(cut.read_bytes()[:-20])
    for path in calls.iterdir():
        path.unlink()
    assert rows(stage(sized, passing(calls))) == UNITS
    redone = sorted(int(path.name[:3]) for path in calls.iterdir())
    assert redone == [*range(10, 20)], (whole, behind)


def test_units_are_batched_by_length_and_rows_do_not_depend_on_the_size_of_a_batch(sized: RunRef, calls: Path) -> None:
    made = stage(sized, passing(calls), length=lambda unit: unit % 4)
    alone = replace(sized, context=replace(sized.context, batch_size=16, store=sized.context.store.with_name("other")))
    assert rows(made)[:8] == [3, 7, 2, 6, 1, 5, 0, 4]
    assert rows(stage(alone, passing(calls), length=lambda unit: unit % 4)) == rows(made)


def test_when_the_time_is_over_what_is_finished_is_a_result_and_a_later_run_goes_on(sized: RunRef, calls: Path) -> None:
    until = time.time() + 5  # a worker that has just started gets to its first batch by then
    cut = stage(sized, passing(calls, slow_until=until + 0.1), until=until)
    assert 2 <= cut.num_rows < len(UNITS)
    assert rows(cut) == UNITS[: cut.num_rows]
    whole = stage(sized, passing(calls))
    assert rows(whole) == UNITS
    assert whole.fingerprint != cut.fingerprint
    assert len(list(calls.iterdir())) == len(UNITS)


def test_no_time_at_all_is_refused_and_says_so(sized: RunRef, calls: Path) -> None:
    with pytest.raises(ValueError, match="passing: the time allowed was over before one batch was finished"):
        stage(sized, passing(calls), until=time.time() - 1)
