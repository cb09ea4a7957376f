import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.addresses import copies
from comem_core.addresses.copies import STAMPS
from tasks.engine.partial import ROWS_OF, DiskFull
from tasks.engine.store import ArtefactBusy, Store
from tests.tasks.engine.drafts import ROWS, draft


def test_a_shard_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    partial = Store(tmp_path).begin("filter", "f00d")
    partial.write_shard("part-00000", ROWS)
    with pytest.raises(RuntimeError), partial.open_file("weights.bin") as path:
        path.write_bytes(b"half")
        raise RuntimeError("killed here")
    with pytest.raises(RuntimeError), partial.open_folder("encoder") as path:
        (path / "a").write_bytes(b"half")
        raise RuntimeError("killed here")
    assert partial.list_finished() == {"part-00000"}
    assert [path.name for path in partial.folder.iterdir()] == ["part-00000.parquet"]


def test_a_shard_without_rows_has_no_row_group(tmp_path: Path) -> None:
    """`datasets` 5.2 loads no folder in which a Parquet file has a row group of zero rows; without one it does."""
    partial = Store(tmp_path).begin("filter", "f00d")
    assert partial.write_shard("part-00000", ROWS.slice(0, 0), rows_of="sample") == 0
    written = pq.ParquetFile(partial.folder / "part-00000.parquet")
    assert written.num_row_groups == 0 and written.read().schema.names == ROWS.schema.names
    assert written.schema_arrow.metadata == {ROWS_OF: b"sample"}


def test_an_artefact_has_its_name_only_when_complete_and_its_record_names_every_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-00000", ROWS)
    partial.write_shard("dropped-00000", ROWS, rows_of="dropped_row")
    with partial.open_folder("encoder") as folder:
        (folder / "record.json").write_text("{}")
    (partial.folder / ".weights.bin.0123.tmp").write_bytes(b"half, of a worker that was killed")
    assert store.find("filter", "f00d") is None
    record = store.finish(partial, draft())
    assert store.find("filter", "f00d") == record
    assert record["num_rows"] == 2  # the dropped rows are not the stage's own
    assert [shard["file"] for shard in record["shards"]] == [
        "dropped-00000.parquet",
        "encoder/record.json",
        "part-00000.parquet",
    ]
    assert [shard.get("table") for shard in record["shards"]] == ["dropped_row", None, None]
    assert store.damage(record) == {}


def test_what_differs_is_named_and_only_that_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    for number in range(3):
        partial.write_shard(f"part-{number}", ROWS)
    record = store.finish(partial, draft())
    flip_a_byte(store.find_path("filter", "f00d") / "part-1.parquet")
    assert list(store.damage(record)) == ["part-1.parquet"]
    assert "differs from its record" in store.damage(record)["part-1.parquet"]
    assert store.begin("filter", "f00d").list_finished() == {"part-0", "part-2"}
    assert store.find("filter", "f00d") is None


def test_what_was_verified_is_not_read_again_until_it_is_touched_or_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-0", ROWS)
    record = store.finish(partial, draft())
    path = store.find_path("filter", "f00d") / "part-0.parquet"
    assert store.damage(record, again=False) == {}
    stat = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # a disk that lost a bit says nothing
    assert store.damage(record, again=False) == {}
    assert list(store.damage(record)) == ["part-0.parquet"]
    assert list(store.damage(record, again=False)) == ["part-0.parquet"]


@pytest.mark.parametrize("change", ["written", "copied", "stamps", "other process"])
def test_a_touched_file_is_verified_again(tmp_path: Path, change: str) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-0", ROWS)
    record = store.finish(partial, draft())
    assert store.damage(record, again=False) == {}
    path, stamps = (store.find_path("filter", "f00d") / name for name in ("part-0.parquet", STAMPS))
    stat, content = path.stat(), bytearray(path.read_bytes())
    copies._verified.clear()
    content[-9] ^= 1
    if change == "copied":
        path.rename(path.with_suffix(".old"))
    elif change == "stamps":
        stamps.write_text("{")
    path.write_bytes(content)
    if change != "written":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    is_seen = change != "other process"  # what another process verified counts
    assert bool(store.damage(record, again=False)) == is_seen


def test_a_damaged_artefact_is_made_again_without_what_was_noted_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-0", ROWS)
    record = store.finish(partial, draft())
    assert store.damage(record, again=False) == {} and (Path(record["uri"]) / STAMPS).exists()
    again = store.finish(store.begin("filter", "f00d"), draft())
    assert again["shards"] == record["shards"]


def test_a_finished_shard_that_is_cut_off_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("filter", "f00d")
    for number in range(2):
        partial.write_shard(f"part-{number}", ROWS)
    torn = partial.folder / "part-1.parquet"
    os.truncate(torn, torn.stat().st_size // 2)
    assert store.begin("filter", "f00d").list_finished() == {"part-0"}


def test_what_must_not_change_half_way_is_kept_from_the_first_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.begin("filter", "f00d").keep("rows_per_shard", 64) == 64
    partial = store.begin("filter", "f00d")
    assert partial.keep("rows_per_shard", 128) == 64
    assert partial.list_finished() == set()


def test_a_full_disk_is_a_clear_error_and_loses_no_finished_shard(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(mount)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    try:
        partial = Store(mount).begin("filter", "f00d")
        partial.write_shard("part-0", ROWS)
        with pytest.raises(DiskFull, match="the disk is full: no room for part-1"):
            partial.write_shard("part-1", pa.table({"noise": [os.urandom(1000) for _ in range(1000)]}))
        assert partial.list_finished() == {"part-0"}
        partial.write_shard("part-1", ROWS)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_nearly_full_disk_is_refused_before_the_shard_is_written(tmp_path: Path) -> None:
    partial = Store(tmp_path, min_free_bytes=2**60).begin("filter", "f00d")
    with pytest.raises(DiskFull, match=r"start the run again"):
        partial.write_shard("part-0", ROWS)


def hold_lock(folder: Path, ready) -> None:
    with Store(folder).lock("filter", "f00d"):
        ready.set()
        time.sleep(30)


def test_a_second_process_waits_a_bounded_time_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    ready = spawn.Event()
    holder = spawn.Process(target=hold_lock, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(10)
    with (
        pytest.raises(ArtefactBusy, match="another run has been making filter f00d"),
        Store(tmp_path, lock_wait_seconds=0.3).lock("filter", "f00d"),
    ):
        pass
    holder.kill()
    holder.join()
    with Store(tmp_path, lock_wait_seconds=5).lock("filter", "f00d") as waited:
        assert not waited


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
