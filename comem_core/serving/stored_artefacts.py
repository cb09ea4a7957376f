"""Finds the complete artefacts of a store, in a folder or at an fsspec address, and brings them to this machine.

A record is what makes an artefact complete. An artefact at an address is copied once below `COMEM_CACHE`: its name says
what it holds, so a copy never grows old.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from comem_core.backbone.finding import find_cache_folder
from comem_core.serving.layout import ENCODER_STAGE, RECORD, STORE, Record


class StoredArtefacts:
    """The artefacts of one store: `address` is its folder or fsspec address, or `.comem` with the store inside."""

    def __init__(self, address: str | Path):
        """Find the store. Raises ValueError that says what was found and what to do."""
        self.address = str(address)
        try:
            files, root = fsspec.core.url_to_fs(self.address)
            self._files: Any = files
            inside = f"{str(root).rstrip('/')}/{STORE}"
            self.root = inside if files.isdir(inside) else str(root).rstrip("/")
            there = files.isdir(self.root)
        except (ImportError, OSError, ValueError) as error:
            raise ValueError(f"the store {self.address!r} cannot be read: {error}") from error
        if not there:
            raise ValueError(
                f"there is no store {self.address!r}; expected the folder `.comem` of a run, its folder `store`, or "
                "the store's fsspec address. Run synth-and-train first (`make demo`), or name another folder"
            )
        self.stages = sorted({path.split("/")[-3] for path in files.glob(f"{self.root}/*/*/{RECORD}")})

    @property
    def is_local(self) -> bool:
        return isinstance(self._files, LocalFileSystem)

    def list_records(self, stage: str) -> list[Record]:
        """List the records of a stage's complete artefacts, oldest first; a record that cannot be read is left out."""
        self._files.invalidate_cache()
        found: list[Record] = []
        paths = sorted(self._files.glob(f"{self.root}/{stage}/*/{RECORD}"))
        for path, raw in (self._files.cat(paths, on_error="omit") if paths else {}).items():
            try:
                record: Record = json.loads(raw)
                found.append({"measured": {}, **record, "uri": path.rpartition("/")[0]})
            except (ValueError, TypeError):
                continue
        return sorted(found, key=lambda record: record["created"])

    def fetch(self, record: Record) -> Path:
        """Return the local folder of an artefact, with files of the sizes in its record.

        Raises:
            ValueError: a file is missing or cut off; the message names it.
        """
        folder = Path(record["uri"]) if self.is_local else self._copy(record)
        for shard in record["shards"]:
            path = folder / shard["file"]
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes, and {shard['bytes']} in its record"
                raise ValueError(
                    f"{record['stage']} {record['fingerprint']} in {self.address} is damaged: {shard['file']} {found}; "
                    "run the flow again, which makes it anew"
                )
        return folder

    def _copy(self, record: Record) -> Path:
        store = hashlib.sha256(self.root.encode()).hexdigest()[:16]
        folder = find_cache_folder() / "stores" / store / record["stage"] / record["fingerprint"]
        if (folder / RECORD).is_file():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            for name in [*(shard["file"] for shard in record["shards"]), RECORD]:
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{record['uri']}/{name}", str(beside / name))
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except FileNotFoundError as error:
            raise ValueError(f"{record['stage']} {record['fingerprint']} in {self.address} lacks {error}") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return folder


def is_store(folder: Path) -> bool:
    """Tell whether a folder is a store, or has one inside."""
    return (folder / STORE).is_dir() or any(folder.glob(f"*/*/{RECORD}")) or (folder / ENCODER_STAGE).is_dir()
