"""Where an embedder's weights are: in an installed package, in a folder, in the hub's cache; and their identity."""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "1_Pooling/config.json")


def package(name: str, *, install: str) -> ModuleType:
    """Import an optional package. Raises ValueError that says how to install it where it is missing."""
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"this embedder needs the package {name}, which is not installed; run `{install}`")
    return importlib.import_module(name)


def model_folder(where: str) -> Path:
    """Find a model's folder: a local one, or that of a hub name (downloaded where the hub is reachable).

    Raises:
        ValueError: there is none; what was looked for is named.
    """
    if (Path(where) / "config.json").is_file():
        return Path(where)
    if where.count("/") != 1:
        raise ValueError(f"no model {where!r}: no folder with a config.json, and no hub name (owner/name)")
    try:
        return Path(snapshot_download(where, allow_patterns=list(MODEL_FILES)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"model {where!r} is neither a folder nor in the local cache, and the hub was not reached: "
            f"{str(error).splitlines()[0]}. Give a local folder instead"
        ) from error


def model_files(folder: Path) -> list[Path]:
    """List the files of a model's folder that decide what it computes."""
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})


def identity_of(files: Iterable[Path]) -> str:
    """Name weights by the names and bytes of their files (16 hex digits)."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
