"""Reads prompts by name from a folder of JSON files, one per set, each with a hash of its bytes."""

import hashlib
import json
from importlib.resources.abc import Traversable
from typing import Any


def read_prompt_file(folder: Traversable, name: str, *, what: str) -> dict[str, Any]:
    """Read a file of prompts: its fields without `description`, plus its `name` and the `sha256` of its bytes.

    Raises:
        ValueError: no file has this name; the message lists the names of the files, as kinds of `what`.
    """
    known = list_prompt_files(folder)
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; expected one of {', '.join(known)}")
    raw = (folder / f"{name}.json").read_bytes()
    fields = {key: value for key, value in json.loads(raw).items() if key != "description"}
    return fields | {"name": name, "sha256": hashlib.sha256(raw).hexdigest()}


def list_prompt_files(folder: Traversable) -> list[str]:
    """List the names of a folder's prompts."""
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
