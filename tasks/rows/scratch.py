"""Texts in a temporary file: written once, one after the other, and read by number in any order.

Memory holds where each ends. Several threads may read at once.
"""

import os
import tempfile
from array import array
from collections.abc import Iterable
from types import TracebackType


class ScratchTexts:
    """Texts in the order in which they were added. The file has no name, and goes when this is closed or forgotten."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(prefix="comem-")  # noqa: SIM115
        self.ends = array("q", [0])

    def __enter__(self) -> "ScratchTexts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.file.close()

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> str:
        start, end = self.ends[number], self.ends[number + 1]
        return os.pread(self.file.fileno(), end - start, start).decode()

    def add(self, texts: Iterable[str]) -> None:
        """Write further texts behind the others."""
        end = self.ends[-1]
        for text in texts:
            end += self.file.write(text.encode())
            self.ends.append(end)
        self.file.flush()
