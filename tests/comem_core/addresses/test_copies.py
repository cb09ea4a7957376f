"""What is at an address may be anybody's: nothing in a record there leads to a file outside of the local copy."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from comem_core.addresses.copies import Copy, DamagedFile, open_folder

ADDRESS = "memory://strangers"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("COMEM_STORE_CACHE", str(tmp_path / "cache"))
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.rm("/strangers", recursive=True)


CONTENT = b"what a stranger wrote"
SHARD = {"file": "rows.bin", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), "rows": 1}
RECORD = {"stage": "bank", "fingerprint": "12ab", "created": "2026-01-01", "content_sha256": "0", "shards": [SHARD]}


def put_record(memory: Any, folder: str, **changes: Any) -> None:
    """Write a record, and a file under each name at which one would be looked for."""
    record = RECORD | {"num_rows": 1, "table": None} | changes
    memory.pipe(f"/strangers/{folder}/record.json", json.dumps(record).encode())
    for name in ("rows.bin", "../../../../planted", "deep/../../../../../planted", "/tmp/planted-by-a-test"):
        memory.pipe(f"/strangers/{folder}/{name}", CONTENT)


def test_a_record_that_is_whole_is_fetched(memory: Any, tmp_path: Path) -> None:
    put_record(memory, "bank/12ab")
    [record] = Copy.of(ADDRESS).list_records("bank")
    assert (Copy.of(ADDRESS).fetch(record) / "rows.bin").read_bytes() == b"what a stranger wrote"
    assert tmp_path / "cache" in Copy.of(ADDRESS).fetch(record).parents


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": [SHARD | {"file": "../../../../planted"}]},
        {"shards": [SHARD | {"file": "deep/../../../../../planted"}]},
        {"shards": [SHARD | {"file": "/tmp/planted-by-a-test"}]},
        {"shards": [SHARD | {"file": ""}]},
        {"shards": [SHARD | {"file": 7}]},
        {"shards": ["planted"]},
        {"shards": 7},
        {"stage": "../../.."},
        {"stage": "encoder"},
        {"fingerprint": "../../../planted"},
        {"fingerprint": None},
    ],
    ids=str,
)
def test_a_record_that_names_files_elsewhere_is_not_a_record(memory: Any, tmp_path: Path, changes: dict) -> None:
    put_record(memory, "bank/12ab", **changes)
    copy = Copy.of(ADDRESS)
    assert copy.list_records() == [] and copy.read_record("bank", "12ab") is None
    with pytest.raises(DamagedFile, match="there is no complete artefact"):
        open_folder(f"{ADDRESS}/bank/12ab")
    assert not [path for path in tmp_path.rglob("*") if "planted" in path.name]
