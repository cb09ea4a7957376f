"""The local copy of a store that is an address: the address is the truth, and the copy may be deleted at any time.

A file is fetched when it is needed, under a name of its own, compared with the record's size and hash, and then renamed
into place: so several processes of a machine may fetch the same.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from comem_core.addresses.places import find_store_cache, is_address, split_artefact
from comem_core.addresses.remote import Remote
from comem_core.data_roots import is_file_name
from comem_core.serving.layout import RECORD, Record, ShardRecord, parse_record

AT_ONCE = 64
STAMPS = (
    ".verified.json"  # what a process found to be as recorded, so that the next one on this machine need not hash it
)
Wanted = Callable[[str], bool]
# What this process found to be as its record says: the file's size, time and inode, and its hash.
_verified: dict[str, tuple[int, int, int, str]] = {}
_opened: dict[str, Path] = {}
_records: dict[str, Record] = {}
_opening = threading.Lock()


class DamagedFile(ValueError):
    """A file at the address is missing, or is not what its record says; `file` is the address of the latter."""

    def __init__(self, message: str, file: str | None = None) -> None:
        super().__init__(message)
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return DamagedFile, (str(self), self.file)


@dataclass(frozen=True)
class Copy:
    """The store at an address, and the folder of its local copy."""

    address: str
    folder: Path

    @classmethod
    def of(cls, address: str) -> "Copy":
        return cls(address, find_store_cache(address))

    @property
    def remote(self) -> Remote:
        return Remote(self.address)

    def find_path(self, stage: str, fingerprint: str) -> Path:
        """Return the folder of an artefact's copy."""
        return self.folder / stage / fingerprint

    def name(self, stage: str, fingerprint: str) -> str:
        """Return the address of an artefact."""
        return f"{self.address}/{stage}/{fingerprint}"

    def read_record(self, stage: str, fingerprint: str) -> Record | None:
        """Read the record of a complete artefact at the address; None if there is none, or it cannot be read."""
        name = f"{stage}/{fingerprint}/{RECORD}"
        return self._parse(name, self.remote.read(name))

    def list_records(self, *stages: str) -> list[Record]:
        """Read the records of all complete artefacts, of some stages or of all, oldest first."""
        asked = stages or tuple(self.remote.list_names())
        names = [
            f"{stage}/{name}/{RECORD}"
            for stage in asked
            for name in self.remote.list_names(stage)
            if not name.endswith(".lock")
        ]
        found = (self._parse(name, content) for name, content in self.remote.read_each(names).items())
        return sorted((each for each in found if each is not None), key=lambda record: record["created"])

    def _parse(self, name: str, content: bytes | None) -> Record | None:
        place = name.removesuffix(f"/{RECORD}")
        record = None if content is None else parse_record(content, uri=f"{self.address}/{place}")
        is_of_place = record is not None and f"{record.get('stage')}/{record.get('fingerprint')}" == place
        return record if is_of_place and is_file_name(place) else None

    def fetch(self, record: Record, wanted: Wanted | None = None) -> Path:
        """Return the folder of an artefact's copy with all its files, or those whose names are wanted; each verified.

        Raises DamagedFile for a file that is missing at the address, or differs from the record there.
        """
        folder = self.find_path(record["stage"], record["fingerprint"])
        read_stamps(folder)
        shards = [each for each in record["shards"] if wanted is None or wanted(each["file"])]
        missing = [each for each in shards if not is_as_recorded(folder / each["file"], each)]
        for start in range(0, len(missing), AT_ONCE):
            self._fetch_shards(record, folder, missing[start : start + AT_ONCE])
        if missing or not (folder / STAMPS).exists():
            _write_stamps(folder, record)
        if wanted is None:
            beside = folder / f".{RECORD}.{uuid4().hex[:8]}.tmp"
            folder.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({name: value for name, value in record.items() if name != "uri"}, indent=1))
            os.replace(beside, folder / RECORD)
        return folder

    def _fetch_shards(self, record: Record, folder: Path, shards: list[ShardRecord]) -> None:
        place = f"{record['stage']}/{record['fingerprint']}"
        hidden = {each["file"]: folder / f"{each['file']}.{uuid4().hex[:8]}.tmp" for each in shards}
        try:
            try:
                self.remote.download({f"{place}/{file}": path for file, path in hidden.items()})
            except FileNotFoundError as error:
                sizes = self.remote.list_sizes(place)
                gone = next((file for file in hidden if f"{place}/{file}" not in sizes), None)
                raise DamagedFile(f"{record['uri']} is damaged: {gone or error} is missing there") from error
            for each in shards:
                path = hidden[each["file"]]
                if not is_as_recorded(path, each):  # once more, for it may have been damaged on the way
                    self.remote.download({f"{place}/{each['file']}": path})
                if not is_as_recorded(path, each):
                    raise _describe_damaged(record, each, path)
                _remember(path, folder / each["file"], each["sha256"])
        finally:
            for path in hidden.values():
                path.unlink(missing_ok=True)


def _describe_damaged(record: Record, shard: ShardRecord, path: Path) -> DamagedFile:
    found = hash_file(path)[:8]
    return DamagedFile(
        f"{record['uri']} is damaged: {shard['file']} there differs from its record (sha256 {found}, was "
        f"{shard['sha256'][:8]}; {path.stat().st_size} bytes, were {shard['bytes']}). Run the flow again",
        f"{record['uri']}/{shard['file']}",
    )


def is_as_recorded(path: Path, shard: Mapping[str, Any]) -> bool:
    """Tell whether a local file is what a record says; a file that this process has hashed before is not read again."""
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != shard["bytes"]:
        return False
    stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ino, shard["sha256"])
    if _verified.get(str(path)) == stamp:
        return True
    if hash_file(path) != shard["sha256"]:
        return False
    _verified[str(path)] = stamp
    return True


def _remember(hidden: Path, path: Path, sha256: str) -> None:
    """Give a verified file its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(hidden, path)
    stat = path.stat()
    _verified[str(path)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256)
    _verified.pop(str(hidden), None)


def read_stamps(folder: Path) -> None:
    """Take over what another process of this machine found, unless the file has changed since."""
    with contextlib.suppress(OSError, ValueError):
        for file, (size, time, inode, sha256) in json.loads((folder / STAMPS).read_text()).items():
            _verified.setdefault(str(folder / file), (size, time, inode, sha256))


def _list_verified(folder: Path, record: Record) -> dict[str, tuple[int, int, int, str] | None]:
    return {each["file"]: _verified.get(str(folder / each["file"])) for each in record["shards"]}


def _write_stamps(folder: Path, record: Record) -> None:
    stamps = _list_verified(folder, record)
    beside = folder / f".{STAMPS}.{uuid4().hex[:8]}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps({file: stamp for file, stamp in stamps.items() if stamp}))
    os.replace(beside, folder / STAMPS)


def open_folder(uri: str, wanted: Wanted | None = None) -> Path:
    """Return the local folder of an artefact, by its folder or its address, with the files that are wanted (None: all).

    An artefact at an address is fetched once in each process.

    Raises:
        DamagedFile: it is not complete at the address, or a file there is not what its record says.
    """
    if not is_address(uri):
        return Path(uri)
    with _opening:
        if wanted is None and (known := _opened.get(uri)) is not None and (known / RECORD).exists():
            return known
        copy, record = _read_record(uri)
        try:
            folder = copy.fetch(record, wanted)
        except DamagedFile:
            _records.pop(uri, None)
            copy, now = _read_record(uri)
            if now["content_sha256"] == record["content_sha256"]:
                raise
            folder = copy.fetch(now, wanted)  # it was made again since this process read the record
        if wanted is None:
            _opened[uri] = folder
        return folder


def _read_record(uri: str) -> tuple[Copy, Record]:
    address, stage, fingerprint = split_artefact(uri)
    copy = Copy.of(address)
    if uri not in _records:
        if (record := copy.read_record(stage, fingerprint)) is None:
            raise DamagedFile(f"there is no complete artefact at {uri}: its {RECORD} is missing. Run the flow again")
        _records[uri] = record
    return copy, _records[uri]


def is_table(file: str) -> bool:
    """Tell whether a file holds rows, which the warehouse reads, by its name."""
    return file.endswith(".parquet")


def forget_opened(uri: str) -> None:
    """Look at the address again when this artefact is next opened: it is made again."""
    _opened.pop(uri, None)
    _records.pop(uri, None)


def find_damage(folder: Path, record: Record, *, again: bool) -> dict[str, str]:
    """Map each file of an artefact's folder that differs from the record to its fault.

    Without `again`, a file that some process found to be as recorded is not read, unless its size, time or inode is
    another one; what is found is noted for the next process.
    """
    read_stamps(folder)
    faults, known = {}, _list_verified(folder, record)
    for shard in record["shards"]:
        path = folder / shard["file"]
        if not path.exists():
            faults[shard["file"]] = "is missing"
        elif not (is_whole(path, shard["sha256"]) if again else is_as_recorded(path, shard)):
            faults[shard["file"]] = f"differs from its record (sha256 {hash_file(path)[:8]}, was {shard['sha256'][:8]})"
            if is_as_recorded(path, shard):  # by what was noted, although it is not
                forget_verified(folder)
    if not again and not faults and known != _list_verified(folder, record):
        with contextlib.suppress(OSError):  # a store that may only be read is hashed each time
            _write_stamps(folder, record)
    return faults


def forget_verified(folder: Path) -> None:
    """Hash the files of a folder again when they are next needed."""
    with contextlib.suppress(OSError):
        (folder / STAMPS).unlink()
    for name in [name for name in _verified if name.startswith(f"{folder}/")]:
        _verified.pop(name, None)


def remove_damaged(damaged: DamagedFile) -> None:
    """Remove the file at the address that differs from its record, if this user may."""
    if damaged.file is not None:
        place, _, name = damaged.file.rpartition("/")
        with contextlib.suppress(OSError):
            Remote(place).remove([name])


def hash_file(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path, sha256: str) -> bool:
    """Tell whether a file is there, with this hash."""
    return path.is_file() and hash_file(path) == sha256


def find_whole(uri: str, file: str, sha256: str) -> Path | None:
    """Return the local path of an artefact's file, by the artefact's folder or address; None if it is missing or
    damaged. A file at an address is fetched."""
    try:
        path = open_folder(uri, lambda name: name == file) / file
    except DamagedFile:
        return None
    return path if (is_address(uri) and path.is_file()) or is_whole(path, sha256) else None
