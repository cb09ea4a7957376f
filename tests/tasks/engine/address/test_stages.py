"""Stages whose store is in a bucket: continued from another machine's empty cache, waited for, refused and named."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial as bind
from pathlib import Path
from typing import Any

import cloudpickle
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import torch
from fsspec.config import conf

from comem_core.addresses import remote
from comem_core.addresses.faults import StoreGone
from comem_core.addresses.places import find_store_cache
from tasks.engine.address.nodes import list_store_variables
from tasks.engine.address.partial import RemotePartial
from tasks.engine.address.setting import find_store_faults
from tasks.engine.cluster import build_environment, check_nodes
from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.plan import start_planning
from tasks.engine.rebuild import main as rebuild_warehouse
from tasks.engine.rebuild import mend_warehouse
from tasks.engine.reuse import Stage
from tasks.engine.shards import ShardWriter
from tasks.engine.stage import is_worth_retrying, run_stage
from tasks.engine.store import Reference, Store
from tasks.engine.training.on_ray_train import SAID, STOP, leave_line
from tasks.engine.training.train_worker import find_checkpoint, write_checkpoint
from tasks.engine.worker_process import WorkerProcess, call_pickled
from tasks.evaluation.page_links import find_page, name_page
from tasks.evaluation.report import REPORT, drop_pages_of_killed_runs
from tasks.training.training_data import find_training_data
from tests.buckets import KEYS, Gate
from tests.tasks.engine.address.test_remote_store import change, flip_a_byte, list_objects, read
from warehouse.connection import open_warehouse
from warehouse.schemas import make_schema

STAGE = Stage(name="filter", version="1", table="sample")
SCRIPT = Path(__file__).with_name("one_remote_artefact.py")


@dataclass(frozen=True)
class SomeRecipe:
    size: int = 6


@pytest.fixture
def remote_context(bucket: str, context: Context) -> Context:
    return replace(context, store=find_store_cache(bucket), store_address=bucket)


def move(context: Context, name: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Return the context on another machine, which has an empty cache and a warehouse of its own."""
    assert context.store_address is not None
    root = context.root / name
    monkeypatch.setenv("COMEM_STORE_CACHE", str(root / "cache"))
    return replace(context, store=find_store_cache(context.store_address), warehouse=root / "warehouse.duckdb")


def make_rows(batch: Sequence[int], *, made: list[int], fail_at: int | None = None) -> pa.Table:
    if fail_at in batch:
        raise RuntimeError("killed here")
    made.extend(batch)
    return pa.table({"sample_id": [f"s{number}" for number in batch]}, schema=make_schema("sample"))


def write_shards(partial: Partial, made: list[int], fail_at: int | None = None) -> None:
    """Write two shards of three units, in batches of one, as a worker does."""
    work = bind(make_rows, made=made, fail_at=fail_at)
    done = partial.list_finished()
    for name, units in (("part-00000", [0, 1, 2]), ("part-00001", [3, 4, 5])):
        if name not in done:
            ShardWriter(lambda: work, partial, 1, None)((name, units))
    partial.fetch_finished()


def run_once(context: Context, made: list[int], fail_at: int | None = None, run_id: str = "run-1") -> Reference:
    run = RunRef(run_id=run_id, recipe_name="test", context=context)
    return run_stage(run, STAGE, SomeRecipe(), {}, lambda partial: write_shards(partial, made, fail_at))


def test_a_stage_killed_in_the_middle_is_continued_elsewhere_and_no_finished_batch_is_made_again(
    remote_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    with pytest.raises(RuntimeError, match="killed here"):
        run_once(remote_context, made, fail_at=4)
    elsewhere = move(remote_context, "elsewhere", monkeypatch)
    result = run_once(elsewhere, made)
    assert made == [0, 1, 2, 3, 4, 5] and result.num_rows == 6
    assert result.uri == f"{remote_context.store_address}/filter/{result.fingerprint}"
    assert sorted(path.name for path in result.folder.glob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    third = move(remote_context, "third", monkeypatch)
    assert run_once(third, made) == result and made == [0, 1, 2, 3, 4, 5]
    with open_warehouse(third.warehouse, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM sample").fetchall() == [(6,)]
        assert con.execute("SELECT uri FROM artefact").fetchall() == [(result.uri,)]
        assert con.execute("SELECT action FROM run_stage").fetchall() == [("reused",)]


def test_the_page_of_a_killed_run_goes_with_the_next_one_but_not_that_of_a_running_one(
    bucket: str, remote_context: Context, context: Context
) -> None:
    """In a bucket and in a folder: what nobody works on goes; a finished page, and what a process works on, stay."""

    def write_page(partial: Partial) -> None:
        with partial.open_file("report.html") as path:
            path.write_text("a page")

    for place in (remote_context, context):
        store = Store.of(place)
        for name in ("killed", "busy", "own"):
            write_page(store.begin(REPORT.name, name))
        run = RunRef(run_id="run-1", recipe_name="test", context=place)
        finished = run_stage(run, REPORT, SomeRecipe(), {}, write_page)
        assert store.list_unfinished(REPORT.name) == ["busy", "killed", "own"]
        with store.lock(REPORT.name, "busy"):
            drop_pages_of_killed_runs(place, own="own")
        assert store.list_unfinished(REPORT.name) == ["busy", "own"]
        assert store.find(REPORT.name, finished.fingerprint)


def test_a_byte_flipped_in_the_bucket_is_made_again_by_whoever_needs_it(
    remote_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    result = run_once(remote_context, made)
    name = f"filter/{result.fingerprint}/part-00001.parquet"
    assert remote_context.store_address is not None
    whole = read(remote_context.store_address, name)
    change(remote_context.store_address, name, flip_a_byte(whole))
    run_once(move(remote_context, "elsewhere", monkeypatch), made)
    assert made == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert pq.read_table(pa.BufferReader(read(remote_context.store_address, name))).num_rows == 3


def test_a_warehouse_is_rebuilt_from_the_bucket(remote_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    run_once(remote_context, [])
    elsewhere = move(remote_context, "elsewhere", monkeypatch)
    elsewhere.warehouse.parent.mkdir(parents=True)
    elsewhere.warehouse.write_bytes(b"not a warehouse")
    assert "rebuilt from the store: 1 results" in str(mend_warehouse(elsewhere))
    monkeypatch.setenv("COMEM_STORE", str(remote_context.store_address))
    rebuild_warehouse(elsewhere.warehouse.with_name("all.duckdb"))
    with pytest.raises(SystemExit, match="is there already; name a new file"):
        rebuild_warehouse(elsewhere.warehouse)
    for path in (elsewhere.warehouse, elsewhere.warehouse.with_name("all.duckdb")):
        with open_warehouse(path, read_only=True) as con:
            assert con.execute("SELECT count(*) FROM sample").fetchall() == [(6,)]


def test_two_orchestrators_that_want_the_same_at_once_make_it_once(
    remote_context: Context, bucket: str, tmp_path: Path
) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), bucket, str(tmp_path / name)],
            env=os.environ | {"COMEM_STORE_CACHE": str(tmp_path / name / "cache")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    said = [run.communicate(timeout=120)[0].split() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(said) == [["1"], ["began", "1"]]


def test_training_is_resumed_from_another_machine_s_cache(bucket: str, tmp_path: Path) -> None:
    first = RemotePartial(tmp_path / "one", address=f"{bucket}/encoder/f00d")
    for step in (3, 5, 9):
        state = {
            "training": {"step": step, "parameters": {"weights": torch.full((20,), step / 7)}},
            "steps": [{"step": 1}],
        }
        write_checkpoint(first, state)
    assert first.list_hidden(".checkpoint-") == [".checkpoint-00000005.pt", ".checkpoint-00000009.pt"]
    other = RemotePartial(tmp_path / "two", address=first.address)
    found = find_checkpoint(other, is_first=True)
    assert found is not None and found["training"]["step"] == 9
    newest = "encoder/f00d/.checkpoint-00000009.pt"
    change(bucket, newest, read(bucket, newest)[:-100])
    third = RemotePartial(tmp_path / "three", address=first.address)
    found = find_checkpoint(third, is_first=True)
    assert found is not None and found["training"]["step"] == 5
    [said] = first.read_lines(SAID)
    assert "cannot be read" in said and third.list_hidden(".checkpoint-") == [".checkpoint-00000005.pt"]


def test_the_processes_of_a_training_tell_each_other_through_the_bucket(bucket: str, tmp_path: Path) -> None:
    here, there = (RemotePartial(tmp_path / name, address=f"{bucket}/encoder/f00d") for name in ("a", "b"))
    assert not there.has_post(STOP)
    for number in range(3):
        leave_line(there, 20, f"line {number}")
    assert [line[-8:-2] for line in here.read_lines(SAID)] == ["line 0", "line 1", "line 2"]
    there.post(".failed-0", "zero")
    there.post(".failed-1", "one")
    assert here.read_posts(".failed-") == ["zero", "one"]
    there.post(".progress.json", "1")
    there.post(".progress.json", "2")
    assert here.read_posts(".progress.json") == ["2"]
    here.clear(STOP, ".failed-", ".progress.json", SAID)
    here.post(STOP, "")
    time.sleep(2.1)
    assert there.has_post(STOP) and list_objects(bucket) == ["encoder/f00d/.stop"]


def test_the_server_stopped_for_too_long_ends_the_stage_and_the_same_run_goes_on(
    remote_context: Context, bucket_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, made = Gate(bucket_server), []
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("COMEM_STORE_WAIT_SECONDS", "0.5")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()

    def write_then_stop(partial: Partial) -> None:
        with pytest.raises(RuntimeError):
            write_shards(partial, made, fail_at=4)
        gate.shut()
        write_shards(partial, made)

    run = RunRef(run_id="run-1", recipe_name="test", context=remote_context)
    began = time.monotonic()
    with pytest.raises(StoreGone, match=r"What is finished is kept there: start the same command again") as gone:
        run_stage(run, STAGE, SomeRecipe(), {}, write_then_stop)
    assert time.monotonic() - began < 15
    assert not is_worth_retrying(None, None, type("State", (), {"data": gone.value}))
    gate.open()
    assert run_once(remote_context, made).num_rows == 6
    assert made[:4] == [0, 1, 2, 3] and sorted(set(made)) == [0, 1, 2, 3, 4, 5] and made.count(3) == 1
    remote._silent.clear()


def test_the_setting_is_read_as_a_folder_or_an_address(bucket: str, tmp_path: Path) -> None:
    environ = {"COMEM_ROOT": str(tmp_path), "COMEM_STORE": f"{bucket}/"}
    context = Context.from_environment(environ)
    assert context.store_address == bucket and context.store.is_relative_to(tmp_path / "cache")
    assert Store.of(context).place == bucket
    for plain in (str(tmp_path / "a"), (tmp_path / "a").as_uri()):
        found = Context.from_environment(environ | {"COMEM_STORE": plain})
        assert found.store == tmp_path / "a" and found.store_address is None and type(Store.of(found)) is Store
    with pytest.raises(ValueError, match="has a key or an option in it"):
        Context.from_environment({"COMEM_STORE": "s3://key:sesame@bucket/store"})


def test_what_is_wrong_with_the_address_is_found_before_the_run(
    bucket: str, remote_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote_context.check()
    assert list_objects(bucket) == []
    with pytest.raises(ValueError, match=r"this run cannot start:\n  - the store s3://no-such-bucket cannot be used"):
        replace(remote_context, store_address="s3://no-such-bucket").check()
    [said] = find_store_faults(remote_context.store, "memory://store")
    assert "only one process can see" in said
    monkeypatch.setenv("COMEM_STORE_WAIT_SECONDS", "long")
    with pytest.raises(ValueError, match="COMEM_STORE_WAIT_SECONDS is 'long'; expected a number"):
        remote_context.check()


@pytest.mark.usefixtures("small_ray")
def test_a_node_that_does_not_see_the_address_is_named(remote_context: Context) -> None:
    """What is in memory only this process sees."""
    alone = replace(remote_context, store_address="memory://bucket/store")
    with pytest.raises(
        ValueError, match=r"node .*: the store memory://bucket/store is not seen, or not writable \(FileN"
    ):
        check_nodes(alone)
    assert fsspec.filesystem("memory").find("/bucket") == []


def test_workers_get_the_variables_of_the_address_but_not_where_ray_logs_them(
    remote_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list_store_variables(remote_context)
    assert KEYS.items() <= sent.items() and sent["COMEM_STORE_CACHE"] == os.environ["COMEM_STORE_CACHE"]
    assert list_store_variables(replace(remote_context, store_address=None)) == {}
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(build_environment())
    # fsspec was imported long ago when a worker gets them.
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", "http://here")
    monkeypatch.setitem(conf, "s3", {})
    WorkerProcess(1, {"FSSPEC_S3_ENDPOINT_URL": "http://there"})
    assert os.environ["FSSPEC_S3_ENDPOINT_URL"] == conf["s3"]["endpoint_url"] == "http://there"
    call_pickled(
        {
            "call": cloudpickle.dumps(lambda: None),
            "variables": cloudpickle.dumps({"FSSPEC_S3_ENDPOINT_URL": "http://elsewhere"}),
        }
    )
    assert conf["s3"]["endpoint_url"] == "http://elsewhere"


def test_a_page_is_named_by_its_address(remote_context: Context, serve_folder: Callable[[Path], str]) -> None:
    page = remote_context.store / "report" / "f00d" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("a page")
    address = f"{remote_context.store_address}/report/f00d/report.html"
    assert find_page(remote_context, page) == address
    assert name_page(remote_context, page) == f"{address} (copy on this machine: {page})"
    served: Any = replace(remote_context, pages_url=serve_folder(remote_context.store))
    assert find_page(served, page) == f"{served.pages_url}/report/f00d/report.html"


def test_no_key_is_in_what_is_recorded(remote_context: Context, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    result = run_once(remote_context, [])
    texts = [read(bucket, name) for name in list_objects(bucket)] + [remote_context.warehouse.read_bytes()]
    texts += [caplog.text.encode(), repr(remote_context).encode(), repr(result).encode()]
    assert not any(KEYS["AWS_SECRET_ACCESS_KEY"].encode() in each for each in texts)


def test_of_what_is_only_planned_nothing_is_fetched(remote_context: Context) -> None:
    run = RunRef(run_id="run-1", recipe_name="tiny_cpu", context=remote_context)
    with start_planning():
        planned = run_stage(run, Stage(name="encoder", version="1"), SomeRecipe(), {}, lambda artefact: None)
    assert planned.uri.startswith(remote_context.store_address or "?")
    assert not planned.folder.exists() and planned.list_shards() == []
    assert find_training_data(Store.of(remote_context), planned).unknown
