"""Small files beside the artefacts of a store, in a folder or at an address: each is there whole or not at all."""

import os
from pathlib import Path
from uuid import uuid4

from comem_core.addresses.places import is_address
from comem_core.addresses.remote import Remote
from comem_core.disk import flush


def read_beside(store: str | Path, folder: str) -> dict[str, bytes]:
    """Return the contents of the files in a folder of the store by their names; empty if there is none."""
    if is_address(str(store)):
        remote = Remote(f"{store}/{folder}")
        return remote.read_each(remote.list_names())
    paths = sorted((Path(store) / folder).glob("[!.]*"))
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def write_beside(store: str | Path, folder: str, name: str, content: bytes) -> None:
    """Write a file, replacing one of this name."""
    if is_address(str(store)):
        Remote(f"{store}/{folder}").write(name, content)
        return
    place = Path(store) / folder
    place.mkdir(parents=True, exist_ok=True)
    hidden = place / f".{name}.{uuid4().hex[:8]}.tmp"
    try:
        hidden.write_bytes(content)
        flush(hidden)
        os.replace(hidden, place / name)
        flush(place)
    finally:
        hidden.unlink(missing_ok=True)


def remove_beside(store: str | Path, folder: str, name: str) -> None:
    """Remove a file; one that is not there is left alone."""
    if is_address(str(store)):
        Remote(f"{store}/{folder}").remove([name])
    else:
        (Path(store) / folder / name).unlink(missing_ok=True)
