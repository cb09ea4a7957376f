"""COMEM_STORE: a folder or an address, and what keeps a run from working there. Imported by workers."""

import os
from collections.abc import Mapping
from pathlib import Path

from comem_core.addresses.places import CACHE, find_store_cache, read_place

STORE = "COMEM_STORE"
IN_ONE_PROCESS = "memory://"


def read_store_setting(environ: Mapping[str, str], *, without: Path) -> dict[str, object]:
    """Return the folder of the store, and its address if it has one: then the folder is that of its local copy.

    Raises ValueError for an address with a key in it, or one that names no place.
    """
    place = read_place(environ[STORE]) if STORE in environ else without
    return {"store": place} if isinstance(place, Path) else {"store": find_store_cache(place), "store_address": place}


def name_store_setting(address: str | None) -> str:
    """Name the variable that says where the files of the store are on this machine."""
    return STORE if address is None else CACHE


def find_store_faults(folder: Path, address: str | None) -> list[str]:
    """Find what keeps a run from working with its store; an address is tried."""
    faults = find_folder_faults(name_store_setting(address), folder)
    if address is None:
        return faults
    if address.startswith(IN_ONE_PROCESS):
        return [*faults, f"{STORE} is {address}, which only one process can see; name a folder or a bucket"]
    from comem_core.addresses.faults import read_wait_seconds
    from comem_core.addresses.remote import Remote  # imports fsspec, which other runs do not need here

    try:
        read_wait_seconds()
        Remote(address).check()
    except ValueError as error:
        faults.append(str(error))
    return faults


def find_existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def find_folder_faults(name: str, folder: Path) -> list[str]:
    """Find what keeps a run from making files in a folder that a variable names."""
    existing = find_existing(folder)
    if not existing.is_dir():
        return [f"{folder} cannot be made: {existing} is a file. Set {name} to a folder"]
    if not os.access(existing, os.W_OK | os.X_OK):
        return [f"you cannot write to {existing}. Set {name} to a folder that you can write to"]
    return []
