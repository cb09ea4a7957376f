"""A store in a bucket: what is finished is found by a machine that has nothing, and nothing else counts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs

from comem_core.addresses.copies import DamagedFile, forget_opened, open_folder
from comem_core.addresses.places import find_store_cache
from comem_core.serving.layout import Record
from tasks.engine.address.partial import RemotePartial
from tasks.engine.address.store import RemoteStore
from tasks.engine.store import Reference
from tests.tasks.engine.drafts import ROWS, draft


def open_store(bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    """Open the store as another machine does, whose cache this is."""
    monkeypatch.setenv("COMEM_STORE_CACHE", str(cache))
    forget_opened(f"{bucket}/filter/f00d")
    return RemoteStore(bucket, find_store_cache(bucket), lock_wait_seconds=5)


def list_objects(bucket: str) -> list[str]:
    root = bucket.removeprefix("s3://")
    return sorted(each.removeprefix(f"{root}/") for each in s3fs.S3FileSystem(use_listings_cache=False).find(root))


def change(bucket: str, name: str, content: bytes) -> None:
    s3fs.S3FileSystem(use_listings_cache=False).pipe_file(f"{bucket.removeprefix('s3://')}/{name}", content)


def read(bucket: str, name: str) -> bytes:
    found = s3fs.S3FileSystem(use_listings_cache=False).cat_file(f"{bucket.removeprefix('s3://')}/{name}")
    assert isinstance(found, bytes)
    return found


def flip_a_byte(content: bytes) -> bytes:
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def make(store: RemoteStore) -> Record:
    """Make an artefact of rows, vectors and a folder."""
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-00000", ROWS)
    with partial.open_file("memory-part-00000.safetensors") as path:
        path.write_bytes(b"vectors")
    with partial.open_folder("image") as folder:
        (folder / "names.json").write_text("{}")
    (partial.folder / "bank.json").write_text("[]")  # as a stage writes at its end, in place
    partial.measure("bad_rows", 3)
    return store.finish(partial, draft())


def test_an_artefact_is_found_and_read_by_a_machine_with_an_empty_cache(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make(open_store(bucket, tmp_path / "one", monkeypatch))
    assert record["uri"] == f"{bucket}/filter/f00d" and record["num_rows"] == 2
    assert list_objects(bucket) == [
        "filter/f00d/bank.json",
        "filter/f00d/image/names.json",
        "filter/f00d/memory-part-00000.safetensors",
        "filter/f00d/part-00000.parquet",
        "filter/f00d/record.json",
    ]
    other = open_store(bucket, tmp_path / "two", monkeypatch)
    assert other.find("filter", "f00d") == record and other.list_records("filter") == [record] == [*other.all_records()]
    assert other.find_anywhere("f00d") == record and other.damage(record) == {}
    folder = Reference(stage="filter", fingerprint="f00d", uri=record["uri"], num_rows=2).folder
    assert folder.is_relative_to(tmp_path / "two") and pq.read_table(folder / "part-00000.parquet") == ROWS
    assert (folder / "memory-part-00000.safetensors").read_bytes() == b"vectors"
    assert [path for path in folder.rglob("*") if path.name.endswith(".tmp")] == []
    shutil.rmtree(tmp_path / "two")
    assert (open_folder(record["uri"]) / "bank.json").read_text() == "[]"


def test_what_a_killed_run_finished_is_found_with_an_empty_cache_and_not_made_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(bucket, tmp_path / "one", monkeypatch).begin("filter", "f00d")
    first.keep("rows_per_shard", 64)
    first.write_shard("part-00000", ROWS)
    first.batches_of("part-00001").write_shard("00000016", ROWS)
    with first.open_file(".checkpoint-00000003.pt") as path:
        path.write_bytes(b"weights")
    store = open_store(bucket, tmp_path / "two", monkeypatch)
    assert store.find("filter", "f00d") is None
    assert sorted(store.open_unfinished("filter", "f00d").glob("*.parquet"))  # what a plan counts
    again = store.begin("filter", "f00d")
    assert again.list_finished() == {"part-00000"} and again.list_begun() == ["part-00001/00000016.parquet"]
    assert again.keep("rows_per_shard", 128) == 64
    assert again.list_hidden(".checkpoint-") == [".checkpoint-00000003.pt"]
    assert again.fetch_hidden(".checkpoint-00000003.pt").read_bytes() == b"weights"
    # A worker on a third machine, which gets the artefact pickled, has the batches too, and hands on its shard.
    on_worker = RemotePartial(tmp_path / "three", address=f"{bucket}/filter/f00d")
    [batch] = on_worker.batches_of("part-00001").folder.iterdir()
    on_worker.write_shard("part-00001", pq.read_table(batch))
    on_worker.remove_batches("part-00001")
    again.clear(".checkpoint-")
    again.fetch_finished()
    assert (again.folder / "part-00001.parquet").exists()
    assert [each["file"] for each in store.finish(again, draft())["shards"]] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert [name for name in list_objects(bucket) if "/." in name] == []


def test_what_a_stranger_left_half_uploaded_never_counts(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(bucket, tmp_path / "one", monkeypatch)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-00000", ROWS)
    whole = read(bucket, "filter/f00d/part-00000.parquet")
    change(bucket, "filter/f00d/part-00001.parquet", whole[:-20])  # no receipt
    change(bucket, "filter/f00d/part-00002.parquet", flip_a_byte(whole))  # with the receipt of other bytes
    change(bucket, "filter/f00d/.whole/part-00002.parquet", read(bucket, "filter/f00d/.whole/part-00000.parquet"))
    change(bucket, "filter/f00d/.batches/part-00003/00000016.parquet", whole[:-20])
    again = open_store(bucket, tmp_path / "two", monkeypatch).begin("filter", "f00d")
    assert again.list_finished() == {"part-00000"} and again.list_begun() == []
    record = store.finish(again, draft())
    assert [each["file"] for each in record["shards"]] == ["part-00000.parquet"]
    assert list_objects(bucket) == ["filter/f00d/part-00000.parquet", "filter/f00d/record.json"]
    change(bucket, "filter/beef/record.json", json.dumps(record).encode()[:-30])
    assert store.find("filter", "beef") is None and store.list_records("filter") == [record]


def test_a_flipped_byte_in_the_cache_is_fetched_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(bucket, tmp_path / "one", monkeypatch)
    record = make(store)
    for name in ("part-00000.parquet", "memory-part-00000.safetensors"):
        path = store.find_path("filter", "f00d") / name
        path.write_bytes(flip_a_byte(whole := path.read_bytes()))
        forget_opened(record["uri"])
        assert (open_folder(record["uri"]) / name).read_bytes() == whole
    assert store.damage(record) == {}


def test_a_flipped_byte_at_the_address_is_noticed_and_only_that_file_is_made_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make(open_store(bucket, tmp_path / "one", monkeypatch))
    rows, vectors = "filter/f00d/part-00000.parquet", "filter/f00d/memory-part-00000.safetensors"
    whole = read(bucket, rows)
    change(bucket, rows, flip_a_byte(whole))
    store = open_store(bucket, tmp_path / "two", monkeypatch)
    assert list(store.damage(record)) == ["part-00000.parquet"]
    with pytest.raises(DamagedFile, match=r"part-00000.parquet there differs from its record"):
        open_folder(record["uri"])
    partial = store.begin("filter", "f00d")
    assert store.find("filter", "f00d") is None
    assert partial.list_finished() == {"bank.json", "memory-part-00000.safetensors"}  # a folder would be made again
    partial.write_shard("part-00000", ROWS)
    assert store.finish(partial, draft())["content_sha256"] == record["content_sha256"]
    change(bucket, vectors, b"Vectors")  # which nobody needs here until it is opened
    other = open_store(bucket, tmp_path / "three", monkeypatch)
    with pytest.raises(DamagedFile, match="Run the flow again"):
        Reference(stage="filter", fingerprint="f00d", uri=record["uri"], num_rows=2).folder  # noqa: B018
    assert list(other.damage(record)) == ["memory-part-00000.safetensors"]


def test_a_file_of_another_artefact_is_copied_at_the_address_and_not_read(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make(open_store(bucket, tmp_path / "one", monkeypatch))
    store = open_store(bucket, tmp_path / "two", monkeypatch)
    partial = store.begin("filter", "beef")
    shard = next(each for each in record["shards"] if each["file"].endswith(".safetensors"))
    partial.take_file(shard, record["uri"], "memory-linked.safetensors")
    partial.write_shard("part-00000", ROWS)
    assert partial.has_file("memory-linked.safetensors", 7) and not partial.has_file("memory-linked.safetensors", 8)
    assert not list((tmp_path / "two").rglob("*.safetensors"))
    made = store.finish(partial, draft(name="beef"))
    assert made["shards"][0] == shard | {"file": "memory-linked.safetensors"}
    assert (open_folder(made["uri"]) / "memory-linked.safetensors").read_bytes() == b"vectors"


def test_a_smaller_artefact_has_the_finished_shards_and_batches_of_the_one_that_is_not_finished(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(bucket, tmp_path / "one", monkeypatch)
    partial = store.begin("filter", "f00d")
    partial.write_shard("part-00000", ROWS)
    partial.batches_of("part-00001").write_shard("00000016", ROWS)
    made = store.finish(store.begin_with(partial, "filter", "beef"), draft(name="beef"))
    assert made["num_rows"] == 4
    assert store.begin("filter", "f00d").list_begun() == ["part-00001/00000016.parquet"]


def test_files_beside_the_artefacts_are_handed_on(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bucket, tmp_path / "one", monkeypatch)
    (store.folder / ".runs").mkdir(parents=True)
    (store.folder / ".runs" / "run-1.json").write_text("{}")
    store.put_files(".runs")
    other = open_store(bucket, tmp_path / "two", monkeypatch)
    other.fetch_files(".runs")
    assert (other.folder / ".runs" / "run-1.json").read_text() == "{}"
    assert [*other.all_records()] == []


AT_ITS_END = """
import sys
from comem_core.addresses.remote import Remote
from tasks.evaluation.ending import end_with_explanation

@end_with_explanation
def flow():
    return Remote(sys.argv[1]).list_names()

print(flow())
"""


def test_a_process_that_asked_a_bucket_ends_without_a_word(bucket: str) -> None:
    command = [sys.executable, "-c", AT_ITS_END, bucket]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")
