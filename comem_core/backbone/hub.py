"""Finds folders of models in the hub's cache, and names weights by their bytes. Independent of any model family."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError


def find_hub_folder(name: str, patterns: Sequence[str], *, missing: str) -> Path:
    """Return the folder of a hub model (owner/name) from the cache; download it if the hub is reachable.

    Raises:
        ValueError: it is neither cached nor downloadable. `missing` opens the message and names the other places
            that were searched.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"{missing} nor in the local cache, and the hub was not reached: {str(error).splitlines()[0]}. Give a "
            "local folder instead"
        ) from error


def name_weights(files: Iterable[Path]) -> str:
    """Name weights by the names and bytes of their files, in the order given (16 hex digits)."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
