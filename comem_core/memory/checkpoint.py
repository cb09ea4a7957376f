"""An encoder's files: LoRA and Q-Former in safetensors, and a description beside them; never the backbone.

The description is JSON: the recipe, the backbone that the encoder belongs to (name, number type, hash of its weights),
the number of parameters, and the size of the file.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from comem_core.memory.description import DESCRIPTION, WEIGHTS, Description
from comem_core.stated_fields import write_fields


def write_checkpoint(folder: Path, weights: Mapping[str, Tensor], description: Description) -> Description:
    """Write weights and description, and fill in `size_bytes`. The description comes last: it marks completeness."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    write_weights(folder / WEIGHTS, weights)
    stated = replace(description, size_bytes=(folder / WEIGHTS).stat().st_size)
    write_fields(folder / DESCRIPTION, stated)
    return stated


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically."""
    beside = path.with_name(f".{path.name}.tmp")
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, beside)
    os.replace(beside, path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ValueError: the file is cut off or damaged, or a weight is not finite; the message names file and weight.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}; copy it again") from error
    refuse_not_finite(weights, where=str(path))
    return weights


def refuse_not_finite(weights: Mapping[str, Tensor], *, where: str) -> None:
    """Raise ValueError if a weight holds other than finite numbers; the message names `where` and the weight."""
    for name, weight in weights.items():
        if not weight.is_floating_point() or not weight.isfinite().all():
            raise ValueError(f"{where} is damaged: {name!r} holds values that are not finite numbers")


def copy_weights(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Copy named weights into parameters; every name and shape must match.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs; the message names it, and nothing is copied.
    """
    if missing := sorted(own.keys() - weights.keys()):
        raise ValueError(f"{len(missing)} weights are missing from the checkpoint, first {missing[0]!r}")
    if extra := sorted(weights.keys() - own.keys()):
        raise ValueError(f"{len(extra)} weights in the checkpoint are unknown here, first {extra[0]!r}")
    for name, parameter in own.items():
        if parameter.shape != weights[name].shape:
            raise ValueError(f"{name!r} is {tuple(weights[name].shape)}, expected {tuple(parameter.shape)}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def hash_weights(weights: Mapping[str, Tensor], *also: str) -> str:
    """Hash weights, and the strings `also` that decide what they do (16 hex digits)."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        plain = weight.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    for part in also:
        digest.update(part.encode())
    return digest.hexdigest()[:16]
