"""Finds the complete artefacts of a store, in a folder or at an fsspec address, and brings them to this machine.

A record is what makes an artefact complete. Of an artefact at an address a copy is made once below `COMEM_STORE_CACHE`
(or `COMEM_CACHE`), which runs on this machine use too; each file is compared with its record when it is fetched.
"""

from contextlib import suppress
from pathlib import Path

from comem_core.addresses.beside import read_beside
from comem_core.addresses.copies import Copy
from comem_core.addresses.faults import StoreRefused, explain
from comem_core.addresses.places import read_place
from comem_core.knowledge.withdrawn import Withdrawal, read_withdrawals
from comem_core.serving.layout import (
    ENCODER_STAGE,
    STORE,
    USED,
    Record,
    list_record_files,
    parse_record,
)


class StoredArtefacts:
    """The artefacts of one store: `address` is its folder or fsspec address, or `.comem` with the store inside."""

    def __init__(self, address: str | Path):
        """Find the store. Raises ValueError that says what was found and what to do."""
        self.address, self._copy = str(address), None
        place = read_place(self.address) if isinstance(address, str) else address
        if isinstance(place, str):
            self._copy = _find_copy(place)
            self.stages = sorted({each["stage"] for each in self._copy.list_records()}) if self._copy else []
        else:
            self.folder = place / STORE if (place / STORE).is_dir() else place
            self.stages = sorted({path.parent.parent.name for path in list_record_files(self.folder)})
        if self._copy is None and (isinstance(place, str) or not self.folder.is_dir()):
            raise ValueError(
                f"there is no store {self.address!r}; expected the folder `.comem` of a run, its folder `store`, or "
                "the store's fsspec address. Run synth-and-train first (`make demo`), or name another folder"
            )

    def list_records(self, stage: str) -> list[Record]:
        """List the records of a stage's complete artefacts, oldest first; a record that cannot be read is left out."""
        if self._copy is not None:
            return self._copy.list_records(stage)
        found: list[Record] = []
        for path in list_record_files(self.folder, stage):
            with suppress(OSError):
                if record := parse_record(path.read_bytes(), uri=str(path.parent)):
                    found.append(record)
        return sorted(found, key=lambda record: record["created"])

    def read_withdrawals(self) -> list[Withdrawal]:
        """Read what was withdrawn from this store, oldest first. Raises ValueError as `read_withdrawals`."""
        return read_withdrawals(self._place)

    def read_uses(self) -> dict[str, str]:
        """Return when banks were used again, by their fingerprints, as ISO 8601."""
        return {name: content.decode() for name, content in read_beside(self._place, USED).items()}

    @property
    def _place(self) -> str | Path:
        return self.folder if self._copy is None else self._copy.address

    def fetch(self, record: Record) -> Path:
        """Return the local folder of an artefact, with files of the sizes in its record.

        Raises:
            ValueError: a file is missing, cut off or, at an address, changed; the message names it.
        """
        if self._copy is not None:
            return self._copy.fetch(record)
        folder = Path(record["uri"])
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


def _find_copy(address: str) -> Copy | None:
    """Return the store at an address, or the one in it; None if there is none. Raises ValueError if it cannot look."""
    copy = Copy.of(address)
    try:
        names = copy.remote.list_names()
    except StoreRefused:
        raise
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"the store {address!r} cannot be read: {error}") from error
    except Exception as error:  # of the filesystem's own library, such as missing credentials
        raise ValueError(f"the store {address!r} cannot be read: {explain(error)}") from error
    return Copy.of(f"{address}/{STORE}") if STORE in names else copy if names else None


def is_store(folder: Path) -> bool:
    """Tell whether a folder is a store, or has one inside."""
    return (folder / STORE).is_dir() or any(list_record_files(folder)) or (folder / ENCODER_STAGE).is_dir()
