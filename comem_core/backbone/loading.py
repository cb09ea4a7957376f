"""Loads backbones by name (shipped with the project, a local folder, or a hub model) and hashes their identity."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from transformers import AutoConfig

from comem_core import backbone
from comem_core.backbone.hub import find_hub_folder, name_weights
from comem_core.backbone.interface import Backbone, Family
from comem_core.backbone.smol import NAME as SMOL
from comem_core.backbone.smol import find_smol_folder
from comem_core.backbone.text import TextModel
from comem_core.backbone.tiny_text import NAME as TINY_TEXT
from comem_core.backbone.tiny_text import find_tiny_text_folder
from comem_core.declared import find_declared

SHIPPED = Path(__file__).parent / "shipped"
# Converted at first use from weights that a package or the project holds.
DERIVED: Mapping[str, Callable[[], Path]] = {SMOL: find_smol_folder, TINY_TEXT: find_tiny_text_folder}
IDENTITY_FILES = ("*.safetensors", "*.json", "*.jinja")


def find_backbone_folder(name: str) -> Path:
    """Find the folder of a model: shipped, made at first use (`smol`, `tiny-text`), local, or in the hub's cache
    (downloaded where the hub is reachable).

    Raises:
        ValueError: the model was not found; the message lists the places searched.
    """
    check_backbone_name(name)
    if name in DERIVED:
        return DERIVED[name]()
    if (folder := _find_local_folder(name)) is not None:
        return folder
    return find_hub_folder(name, IDENTITY_FILES, missing=f"backbone {name!r} is neither shipped ({_list_shipped()})")


def check_backbone_name(name: str) -> None:
    """Raise ValueError for a name that cannot be a model's, without converting a model or asking the hub."""
    if name not in DERIVED and _find_local_folder(name) is None and name.count("/") != 1:
        raise ValueError(
            f"no backbone {name!r}: it is not shipped ({_list_shipped()}), not a folder with a config.json, and not a "
            "hub name (owner/name)"
        )


def _find_local_folder(name: str) -> Path | None:
    return next((folder for folder in (SHIPPED / name, Path(name)) if (folder / "config.json").is_file()), None)


def _list_shipped() -> str:
    return ", ".join(sorted(path.name for path in SHIPPED.iterdir())) if SHIPPED.is_dir() else "none"


def load_backbone(
    name: str, *, family: str | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Backbone:
    """Load a backbone by name, searched for as `find_backbone_folder` does. Its config.json determines the family.

    Raises:
        ValueError: the model was not found, its family is unknown, or its family is not `family`.
    """
    folder = find_backbone_folder(name)
    found = read_family(folder)
    if family not in (None, found.name):
        raise ValueError(
            f"backbone {name!r} is of family {found.name!r}, not {family!r} (known: {', '.join(list_families())})"
        )
    loaded = found.backbone.load(folder, dtype=dtype, device=device)
    loaded.name = name
    return loaded


def load_text_model(name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TextModel:
    """Load a text-only model by name, searched for as `find_backbone_folder` does.

    Raises:
        ValueError: the model was not found, or `TextModel` cannot read it.
    """
    model = TextModel.load(find_backbone_folder(name), dtype=dtype, device=device)
    model.name = name
    return model


def read_width(folder: Path) -> int:
    """Read the width of a model's token embeddings from its config.json alone."""
    return AutoConfig.from_pretrained(folder).get_text_config().hidden_size


@cache
def list_families() -> Mapping[str, Family]:
    """Return every model family by name: each file of this folder with a `FAMILY`, and those of other packages.

    Another package offers a family by an entry point of the group `comem.families`, which names a `Family` or a module
    with a `FAMILY`. Workers need that package too. Raises ValueError if two families read the same `model_type`.
    """
    found = find_declared(backbone, "FAMILY", Family, group="comem.families", word="model families")
    readers: dict[str, str] = {}
    for family in found.values():
        for kind in family.model_types:
            if readers.setdefault(kind, family.name) != family.name:
                raise ValueError(f"two model families read {kind!r}: {readers[kind]} and {family.name}; keep one")
    return found


def read_family(folder: Path) -> Family:
    """Read a model's family from its config.json.

    Raises:
        ValueError: the family is unknown; the message lists the known ones.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    for family in list_families().values():
        if kind in family.model_types:
            return family
    known = ", ".join(each for family in list_families().values() for each in family.model_types)
    raise ValueError(f"{folder} holds a {kind!r} model; a backbone is one of {known}")


def hash_backbone(folder: Path) -> str:
    """Hash a backbone by the bytes of its weights, configuration, tokenizer and template (16 hex digits)."""
    paths = (path for pattern in IDENTITY_FILES for path in folder.glob(pattern) if path.name != "record.json")
    return name_weights(sorted(paths))
