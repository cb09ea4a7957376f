"""Backbones by name: one that ships with the project, a local folder, or a model of the hub; and their identity."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import AutoConfig

from comem_core.backbone.hub import hub_folder, identity_of
from comem_core.backbone.interface import Backbone
from comem_core.backbone.qwen3_vl import Qwen3VL
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.smol import NAME as SMOL
from comem_core.backbone.smol import smol_folder
from comem_core.backbone.smolvlm import SmolVLM
from comem_core.backbone.text import TextModel
from comem_core.backbone.tiny_text import NAME as TINY_TEXT
from comem_core.backbone.tiny_text import tiny_text_folder

SHIPPED = Path(__file__).parent / "shipped"
FAMILIES: Mapping[str, type[Backbone]] = {"qwen_vl": QwenVL, "qwen3_vl": Qwen3VL, "smolvlm": SmolVLM}
# By the `model_type` of config.json.
FAMILY_OF: Mapping[str, str] = {
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen3_vl",
    "smolvlm": "smolvlm",
    "idefics3": "smolvlm",
}
# Made at first use, out of weights that a package or the project holds.
DERIVED: Mapping[str, Callable[[], Path]] = {SMOL: smol_folder, TINY_TEXT: tiny_text_folder}
IDENTITY_FILES = ("*.safetensors", "*.json", "*.jinja")


def backbone_folder(name: str) -> Path:
    """Find the folder of a model: shipped, made at first use (`smol`, `tiny-text`), local, or in the hub's cache
    (downloaded where the hub is reachable).

    Raises:
        ValueError: there is no such model; what was looked for is named.
    """
    if name in DERIVED:
        return DERIVED[name]()
    for folder in (SHIPPED / name, Path(name)):
        if (folder / "config.json").is_file():
            return folder
    shipped = ", ".join(sorted(path.name for path in SHIPPED.iterdir())) if SHIPPED.is_dir() else "none"
    if name.count("/") != 1:
        raise ValueError(f"no backbone {name!r}: not shipped ({shipped}), no folder with a config.json, no hub name")
    return hub_folder(name, IDENTITY_FILES, missing=f"backbone {name!r} is neither shipped ({shipped})")


def load_backbone(
    name: str, *, family: str | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Backbone:
    """Load a backbone by name; see `backbone_folder` for where it is looked for. Its config.json tells the family.

    Raises:
        ValueError: there is no such model, it is of no known family, or of another than `family` where that is given.
    """
    folder = backbone_folder(name)
    found = family_of(folder)
    if family not in (None, found):
        raise ValueError(f"backbone {name!r} is of family {found!r}, not {family!r} (of {', '.join(FAMILIES)})")
    backbone = FAMILIES[found].load(folder, dtype=dtype, device=device)
    backbone.name = name
    return backbone


def load_text_model(name: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TextModel:
    """Load a text-only model by name, which is looked for as a backbone's is.

    Raises:
        ValueError: there is no such model, or it is none that `TextModel` reads.
    """
    model = TextModel.load(backbone_folder(name), dtype=dtype, device=device)
    model.name = name
    return model


def width_of(folder: Path) -> int:
    """The width of a model's token embeddings, read from its config.json alone."""
    return AutoConfig.from_pretrained(folder).get_text_config().hidden_size


def family_of(folder: Path) -> str:
    """Read a model's family from its config.json.

    Raises:
        ValueError: it is of no known family; the known kinds are named.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in FAMILY_OF:
        raise ValueError(f"{folder} holds a {kind!r} model; a backbone is one of {', '.join(FAMILY_OF)}")
    return FAMILY_OF[kind]


def backbone_fingerprint(folder: Path) -> str:
    """Name a backbone by the bytes of its weights, configuration, tokenizer and template (16 hex digits)."""
    paths = (path for pattern in IDENTITY_FILES for path in folder.glob(pattern) if path.name != "record.json")
    return identity_of(sorted(paths))
