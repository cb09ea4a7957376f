"""Finds the folders of models by name (shipped, made from others, local, or in the hub's cache) and hashes their
identity.

Nothing here loads a model, so neither torch nor transformers is imported.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name

from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

SHIPPED = Path(__file__).parent / "shipped"


# Converted at first use from weights that a package or the project holds, by functions whose modules import torch.
SMOL, TINY_TEXT = "smol", "tiny-text"
DERIVED: Mapping[str, str] = {
    SMOL: "comem_core.backbone.small.smol:find_smol_folder",
    TINY_TEXT: "comem_core.backbone.small.tiny_text:find_tiny_text_folder",
}
OWN_FAMILY = "qwen_vl"  # of the VLMs that the project makes
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
IDENTITY_FILES = ("*.safetensors", "*.json", "*.jinja")


class ModelMissing(ValueError):
    """A model has a name that it can have, but is not on this machine."""


def find_backbone_folder(name: str, *, download: bool = True) -> Path:
    """Find the folder of a model: shipped, made at first use (`smol`, `tiny-text`), local, or in the hub's cache
    (with `download`, downloaded where the hub is reachable).

    Raises:
        ValueError: the model was not found; the message lists the places searched.
    """
    check_backbone_name(name)
    if name in DERIVED:
        return resolve_name(DERIVED[name])()
    if (folder := _find_local_folder(name)) is not None:
        return folder
    missing = f"backbone {name!r} is neither shipped ({_list_shipped()})"
    return find_hub_folder(name, IDENTITY_FILES, missing=missing, download=download)


def find_installed_folder(folder: Path) -> Path:
    """Return a model's folder; of a shipped model that another machine named, this installation's own folder."""
    own = SHIPPED / folder.name
    named = folder.parts[-3:-1] == SHIPPED.parts[-2:]
    return own if named and not folder.exists() and own.is_dir() else folder


def check_backbone_name(name: str) -> None:
    """Raise ValueError for a name that cannot be a model's, without converting a model or asking the hub."""
    if name not in DERIVED and _find_local_folder(name) is None and not HUB_NAME.fullmatch(name):
        raise ValueError(
            f"no backbone {name!r}: it is not shipped ({_list_shipped()}), not a folder with a config.json, and not a "
            "hub name (owner/name)"
        )


def find_family(name: str) -> str | None:
    """Return the family of a model that is on this machine, from its config.json; None if it is not here yet.

    Of the project's own models it is known. For others, the families are imported, and torch with them.

    Raises ValueError for a model of no known family.
    """
    if name == SMOL or (name == Path(name).name and (SHIPPED / name / "config.json").is_file()):
        return OWN_FAMILY
    folder = resolve_name(DERIVED[name])() if name in DERIVED else _find_folder_here(name)
    if folder is None:
        return None
    from comem_core.backbone.loading import read_family

    return read_family(folder).name


def find_width(name: str) -> int | None:
    """Return the width of a model's token embeddings, from its config.json; None if that is not here yet."""
    folder = _find_folder_here(name)
    if folder is None:
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("text_config", config).get("hidden_size")


def _find_folder_here(name: str) -> Path | None:
    """Return a model's folder with a config.json: shipped, local, or in the hub's cache; None if there is none."""
    folder = _find_local_folder(name)
    if folder is None and HUB_NAME.fullmatch(name):
        cached = try_to_load_from_cache(name, "config.json")
        folder = Path(cached).parent if isinstance(cached, str) else None
    return folder


def refuse_other_family(name: str, family: str) -> None:
    """Raise ValueError for a model on this machine that is of another family than this, or of none that is known."""
    found = find_family(name)
    if found not in (None, family):
        raise ValueError(f"backbone {name!r} is of the family {found!r}, not {family!r}; name that family, or none")


def is_same_model(name: str, other: str) -> bool:
    """Tell whether two names are of models with the same files; models that are not here differ if their names do."""
    if name == other:
        return True
    folders = _find_local_folder(name), _find_local_folder(other)
    return all(folders) and len({hash_backbone(each) for each in folders if each}) == 1


def _find_local_folder(name: str) -> Path | None:
    return next((folder for folder in (SHIPPED / name, Path(name)) if (folder / "config.json").is_file()), None)


def _list_shipped() -> str:
    return ", ".join(sorted([*DERIVED, *(path.parent.name for path in SHIPPED.glob("*/config.json"))]))


def hash_backbone(folder: Path) -> str:
    """Hash a backbone by the bytes of its weights, configuration, tokenizer and template (16 hex digits)."""
    paths = (path for pattern in IDENTITY_FILES for path in folder.glob(pattern) if path.name != "record.json")
    return name_weights(sorted(paths))


def find_hub_folder(name: str, patterns: Sequence[str], *, missing: str, download: bool = True) -> Path:
    """Return the folder of a hub model (owner/name) from the cache; with `download`, from the hub if it is reachable.

    Raises:
        ModelMissing: it is not in the cache, and not downloaded. `missing` opens the message and names the other places
            that were searched.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=not download))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        allowing = "if HF_HUB_OFFLINE=0 is set for its process (`HF_HUB_OFFLINE=0 make serve`, or `make demo`)"
        if not download:
            why = f"a plan downloads nothing; a run does {allowing}"
        elif constants.HF_HUB_OFFLINE:
            why = f"the hub may not be asked (HF_HUB_OFFLINE); it is downloaded {allowing}"
        else:
            why = f"the hub was not reached: {str(error).splitlines()[0].rstrip('.')}"
        raise ModelMissing(
            f"{missing} nor in the local cache ({constants.HF_HUB_CACHE}), and {why}. Give a local folder instead"
        ) from error


def name_weights(files: Iterable[Path]) -> str:
    """Name weights by the names and bytes of their files, in the order given (16 hex digits)."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def find_cache_folder() -> Path:
    """Return the cache folder, whose content can be made again: `COMEM_CACHE`, or ~/.cache/comem.

    Raises ValueError if the variable is set to nothing.
    """
    named = os.environ.get("COMEM_CACHE")
    if named is not None and not named.strip():
        raise ValueError("COMEM_CACHE is set to nothing; give it a value, or unset it")
    return Path(named) if named else Path.home() / ".cache" / "comem"


def make_derived_folder(name: str, version: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder of a model that `make` writes from `sources`; make it if it does not exist.

    The folder is named by the version and the bytes of the sources. It is written beside its place and then moved, so
    a crash never leaves half a model under the final name.
    """
    identity = hashlib.sha256(version.encode())
    for path in sources:
        with path.open("rb") as stream:
            identity.update(hashlib.file_digest(stream, "sha256").digest())
    folder = find_cache_folder() / "backbones" / f"{name}-{identity.hexdigest()[:16]}"
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        make(beside)
        try:
            beside.rename(folder)
        except OSError:  # another process was first
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
