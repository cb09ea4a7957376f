"""Where an embedder's weights are: in an installed package, in a folder, in the hub's cache."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from comem_core.backbone.hub import find_hub_folder

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "1_Pooling/config.json")


def import_package(name: str, *, install: str) -> ModuleType:
    """Import an optional package. Raises ValueError that says how to install it where it is missing."""
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"this embedder needs the package {name}, which is not installed; run `{install}`")
    return importlib.import_module(name)


def find_model_folder(where: str) -> Path:
    """Find a model's folder: a local one, or that of a hub name (downloaded where the hub is reachable).

    Raises:
        ValueError: there is none; what was looked for is named.
    """
    if (Path(where) / "config.json").is_file():
        return Path(where)
    if where.count("/") != 1:
        raise ValueError(f"no model {where!r}: no folder with a config.json, and no hub name (owner/name)")
    return find_hub_folder(where, MODEL_FILES, missing=f"model {where!r} is neither a folder")


def list_model_files(folder: Path) -> list[Path]:
    """List the files of a model's folder that decide what it computes."""
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
