"""The versions of the libraries that decide results; every record keeps them."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version

DECIDING = ("torch", "transformers", "peft", "tokenizers", "pillow", "faiss-cpu")


@cache
def list_libraries() -> dict[str, str]:
    """Return the version of each library by name, without the build (for a CPU, for a GPU)."""
    return {name: version(name).split("+")[0] for name in DECIDING}


def join_versions(used: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the version of each library by name; of several, all in order, such as `2.13.0 and 2.14.0`."""
    versions: dict[str, list[str]] = {}
    for each in used:
        for name, found in each.items():
            versions.setdefault(name, [])
            versions[name] += [version for version in found.split(" and ") if version not in versions[name]]
    return {name: " and ".join(found) for name, found in versions.items()}
