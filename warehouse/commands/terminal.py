"""What a terminal gets: what the warehouse's commands print, without the characters that a terminal would obey.

The library's `comem_core.terminal` does the same; the warehouse imports no other package, so a test compares both.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO, cast

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""Return a text with each character that a terminal would obey as its escape: the letters `\x1b` for ESC."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class EscapingStream:
    """A stream for a terminal that escapes what is written to it."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(escape_controls(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard_output() -> None:
    """Let everything that this process prints be escaped; for the beginning of a command."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, cast(TextIO, EscapingStream(getattr(sys, name))))
