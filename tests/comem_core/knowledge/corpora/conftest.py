"""What the tests of corpora share: small real files, and how a corpus is read whole."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comem_core.knowledge.corpora import BadRow, ReadingOptions, read_corpus
from comem_core.knowledge.items import KnowledgeItem

Split = tuple[list[KnowledgeItem], list[BadRow]]


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Return a function (color, kind=..., size=...) -> an encoded picture."""

    def make(color: str = "red", *, size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
        written = io.BytesIO()
        Image.new("RGB", size, color).save(written, format=kind)
        return written.getvalue()

    return make


@pytest.fixture(scope="session")
def split() -> Callable[..., Split]:
    """Return a function (corpus, **reading) -> its items and its bad rows."""

    def read(corpus: Path | str, **reading: Any) -> Split:
        rows = list(read_corpus(str(corpus), reading=ReadingOptions(**reading)))
        return [row for row in rows if isinstance(row, KnowledgeItem)], [row for row in rows if isinstance(row, BadRow)]

    return read


@pytest.fixture(scope="session")
def write_jsonl() -> Callable[[Path, list], Path]:
    """Return a function that writes rows (objects, or lines as they are)."""

    def write(file: Path, rows: list) -> Path:
        file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
        return file

    return write
