"""Measures the processor time in which a corpus becomes shards of items, in this checkout or in an earlier one.

Run by its path with the Python of a checkout, in its folder: `python shard_writing.py CORPUS LANGUAGE` prints rows a
processor second. It knows the names under which earlier versions had the same parts.
"""

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

PLACES = (("tasks.data.item_shards", "tasks.engine.partial"), ("tasks.item_shards", "tasks.partial"))
READING = ("ReadingOptions", "Reading")
CUTTING = ("cut_into_pieces", "pieces")
ROWS_OF_A_PIECE = 1024


def find_parts() -> tuple[Any, Any, Any]:
    """Return the writer of pieces, the reading options and the partial artefact of the checkout in this folder."""
    for shards, partial in PLACES:
        try:
            corpora, writing = import_module("comem_core.knowledge.corpora"), import_module(shards)
        except ModuleNotFoundError:
            continue
        options = next(getattr(corpora, name) for name in READING if hasattr(corpora, name))
        return writing.PieceWriter, options, import_module(partial).Partial
    raise ValueError(f"{Path.cwd()} has none of {', '.join(shards for shards, _ in PLACES)}; give a checkout of comem")


def measure_rows_per_second(corpus: str, language: str | None) -> float:
    """Write the shards of a corpus once in this process, after a first piece that loads what is loaded once."""
    writer_of, options, partial_of = find_parts()
    images = "needed" if "pictures" in Path(corpus).name else "optional"
    with tempfile.TemporaryDirectory(prefix="comem-shards-") as folder:
        writer = writer_of(corpus, options(images=images, language=language), partial_of(Path(folder)))
        cut = next(getattr(writer.opened, name) for name in CUTTING if hasattr(writer.opened, name))
        pieces = list(cut(ROWS_OF_A_PIECE))
        writer((len(pieces), pieces[0]))
        started = time.process_time()
        num_items = sum(writer(numbered) for numbered in enumerate(pieces))
        return num_items / (time.process_time() - started)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    print(measure_rows_per_second(sys.argv[1], sys.argv[2] or None))
