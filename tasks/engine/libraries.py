"""The versions of the libraries that decide results; every record keeps them."""

from functools import cache
from importlib.metadata import version

DECIDING = ("torch", "transformers", "peft", "tokenizers", "pillow", "faiss-cpu")


@cache
def list_libraries() -> dict[str, str]:
    """Return the version of each library by name, without the build (for a CPU, for a GPU)."""
    return {name: version(name).split("+")[0] for name in DECIDING}
