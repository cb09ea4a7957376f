"""Where the files of an artefact are: in a folder, or at an fsspec address, of which a copy is made to read them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duckdb import DuckDBPyConnection

from warehouse.records import find_artefact


def find_place(con: DuckDBPyConnection, fingerprint: str) -> str:
    """Return the folder or address of an artefact that is known to exist."""
    record = find_artefact(con, fingerprint)
    assert record is not None, fingerprint
    return record["uri"]


@contextmanager
def open_place(place: str) -> Iterator[Path]:
    """Yield the folder of an artefact; of one at an address, a copy that goes at the end.

    Raises ValueError if the address cannot be read.
    """
    if "://" not in place:
        yield Path(place)
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="comem-copy-") as folder:
        try:
            files, root = fsspec.core.url_to_fs(place)
            paths = files.find(root)
            files.get(paths, [f"{folder}/{path[len(root) + 1 :]}" for path in paths])
        except Exception as error:  # each filesystem has errors of its own
            raise ValueError(f"{place} cannot be read: {error}") from error
        yield Path(folder)
