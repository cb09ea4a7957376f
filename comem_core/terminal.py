"""What a terminal gets: texts of data without the characters that it would obey, in what is printed and in logs.

A control character may move the cursor, rewrite lines or set the clipboard, and a mark of direction may show a name in
another order. Line breaks and tabs stay.
"""

import logging
import re
import sys
import traceback
from typing import Any, TextIO, cast

# Control characters, breaks of lines that are not shown as such, marks that turn the direction, and halves of letters,
# which cannot be written at all.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""Return a text with each character that a terminal would obey as its escape: the letters `\x1b` for ESC."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class PlainStream:
    """A stream for a terminal that escapes what is written to it; `stream` is the one behind it."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(escape_controls(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class PlainRecord(logging.LogRecord):
    """A line of a log, whose text and traceback are escaped."""

    def __init__(self, *values: Any, **named: Any):
        super().__init__(*values, **named)
        if self.exc_info and self.exc_info[0] is not None:  # a formatter takes this text before it makes one itself
            self.exc_text = escape_controls("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        return escape_controls(super().getMessage())


def guard_logs() -> None:
    """Let every log of this process, also of other libraries, get escaped lines."""
    logging.setLogRecordFactory(PlainRecord)


def guard_output() -> None:
    """Let everything that this process prints or logs be escaped; for the beginning of a command."""
    guard_logs()
    for name in ("stdout", "stderr"):
        if not isinstance(stream := getattr(sys, name), PlainStream):
            setattr(sys, name, cast(TextIO, PlainStream(stream)))


def write_controls(controls: str) -> None:
    """Write control characters of our own, such as those that erase a line, to the terminal."""
    stream: Any = sys.stdout
    behind = stream.stream if isinstance(stream, PlainStream) else stream
    behind.write(controls)
    behind.flush()
