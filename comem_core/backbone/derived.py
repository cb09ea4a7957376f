"""Models that are converted from others at first use and cached outside the repository, named by their sources."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def find_cache_folder() -> Path:
    """Return the cache folder, whose content can be made again: `COMEM_CACHE`, or ~/.cache/comem.

    Raises ValueError if the variable is set to nothing.
    """
    named = os.environ.get("COMEM_CACHE")
    if named is not None and not named.strip():
        raise ValueError("COMEM_CACHE is set to nothing; give it a value, or unset it")
    return Path(named) if named else Path.home() / ".cache" / "comem"


def make_derived_folder(name: str, version: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder of a model that `make` writes from `sources`; make it if it does not exist.

    The folder is named by the version and the bytes of the sources. It is written beside its place and then moved, so
    a crash never leaves half a model under the final name.
    """
    identity = hashlib.sha256(version.encode())
    for path in sources:
        with path.open("rb") as stream:
            identity.update(hashlib.file_digest(stream, "sha256").digest())
    folder = find_cache_folder() / "backbones" / f"{name}-{identity.hexdigest()[:16]}"
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        make(beside)
        try:
            beside.rename(folder)
        except OSError:  # another process was first
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
