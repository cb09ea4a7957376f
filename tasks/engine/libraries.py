"""The releases of the libraries that decide results; a plain list, written into every record."""

from functools import cache
from importlib.metadata import version

DECIDING = ("torch", "transformers", "peft", "tokenizers", "pillow", "faiss-cpu")


@cache
def list_libraries() -> dict[str, str]:
    """Return name and release of each; which build of one it is (for a CPU, a GPU) is left out."""
    return {name: version(name).split("+")[0] for name in DECIDING}
