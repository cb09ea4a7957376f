"""An encoder on disk: LoRA and Q-Former in safetensors, the recipe, and the backbone's hash; never the backbone."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from comem_core.backbone.interface import Backbone
from comem_core.memory.encoder import EncoderRecipe, MemoryEncoder

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"


def save_encoder(encoder: MemoryEncoder, folder: Path) -> None:
    """Write an encoder. The description says which backbone it belongs to, by the hash of that backbone's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in encoder.parameters().items()}
    save_file(weights, folder / WEIGHTS)
    description = {
        "recipe": asdict(encoder.recipe),
        "backbone": encoder.backbone.name,
        "backbone_sha256": encoder.backbone.base_weights_sha256(),
        "parameters": dict(encoder.parameter_report()),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_encoder(folder: Path, backbone: Backbone) -> MemoryEncoder:
    """Load an encoder onto the backbone that it was trained for.

    Raises:
        ValueError: the folder holds no encoder, the backbone's weights are others, or names or shapes do not match.
    """
    encoder = MemoryEncoder(backbone, EncoderRecipe(**_description(folder)["recipe"]))
    start_from(folder, encoder)
    return encoder


def start_from(folder: Path, encoder: MemoryEncoder) -> None:
    """Give an encoder the weights of a saved one, which must be of the same shape and for the same backbone.

    Raises:
        ValueError: as `load_encoder`.
    """
    description = _description(folder)
    found = encoder.backbone.base_weights_sha256()
    if found != description["backbone_sha256"]:
        raise ValueError(
            f"this encoder was trained for backbone {description['backbone']!r} (weights "
            f"{description['backbone_sha256'][:12]}), but {encoder.backbone.name!r} has weights {found[:12]}"
        )
    copy_weights(load_file(folder / WEIGHTS), encoder)


def _description(folder: Path) -> dict[str, Any]:
    if missing := [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]:
        raise ValueError(f"{folder} holds no encoder: {', '.join(missing)} is missing")
    return json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))


def copy_weights(weights: dict[str, torch.Tensor], encoder: MemoryEncoder) -> None:
    """Copy named weights into an encoder; every name and shape must match."""
    own = encoder.parameters()
    if missing := sorted(own.keys() - weights.keys()):
        raise ValueError(f"{len(missing)} weights are missing from the checkpoint, first {missing[0]!r}")
    if extra := sorted(weights.keys() - own.keys()):
        raise ValueError(f"{len(extra)} weights in the checkpoint are unknown here, first {extra[0]!r}")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise ValueError(f"{name!r} is {tuple(weights[name].shape)}, expected {tuple(parameter.shape)}")
            parameter.copy_(weights[name])
