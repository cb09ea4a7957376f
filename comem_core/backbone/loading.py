"""Loads backbones by name (shipped with the project, a local folder, or a hub model) and hashes their identity."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from transformers import AutoConfig

from comem_core import backbone
from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.interface import Backbone, Family
from comem_core.backbone.quantization import OFF, Quantization, find_quantization_fault, quantize_layers
from comem_core.backbone.text import TextModel
from comem_core.declared import find_declared


def load_backbone(
    name: str,
    *,
    family: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    quantization: Quantization = OFF,
) -> Backbone:
    """Load a backbone by name, searched for as `find_backbone_folder` does. Its config.json determines the family.

    With a `quantization`, the layers of its language model have 8 or 4 bits (`backbone.quantization`).

    Raises:
        ValueError: the model was not found, its family is unknown, its family is not `family`, or the library that
            quantises is missing.
    """
    folder = find_backbone_folder(name)
    found = read_family(folder)
    if family not in (None, found.name):
        raise ValueError(
            f"backbone {name!r} is of family {found.name!r}, not {family!r} (known: {', '.join(list_families())})"
        )
    is_whole = quantization == OFF or device == "meta"
    if not is_whole and (fault := find_quantization_fault(quantization)):
        raise ValueError(fault)
    loaded = found.backbone.load(folder, dtype=dtype, device=device if is_whole else "cpu")
    loaded.name = name
    quantize_layers(loaded, quantization, device=device)
    return loaded


def load_text_model(name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TextModel:
    """Load a text-only model by name, searched for as `find_backbone_folder` does.

    Raises:
        ValueError: the model was not found, or `TextModel` cannot read it.
    """
    model = TextModel.load(find_backbone_folder(name), dtype=dtype, device=device)
    model.name = name
    return model


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


def read_width(folder: Path) -> int:
    """Read the width of a model's token embeddings from its config.json alone."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().hidden_size
