"""Reads texts and JSON fields from files beside a picture, up to a size limit. Independent of pictures."""

import codecs
import json
from typing import Any

from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import Refused

MAX_BYTES = 4_000_000
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(files: Files, name: str) -> str:
    """Read a text in UTF-8, or in UTF-16 with a byte order mark. Raises Refused."""
    last, raw = name.rpartition("/")[2], _read(files, name)
    try:
        return raw.decode("utf-16" if raw.startswith(WIDE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("wrong_schema", f"{last} is not UTF-8 text: {error}") from error


def read_fields(files: Files, name: str) -> dict[str, Any]:
    """Read fields from one JSON object. Raises Refused."""
    last = name.rpartition("/")[2]
    try:
        fields = json.loads(read_text(files, name))
    except (ValueError, RecursionError) as error:
        raise Refused("wrong_schema", f"{last} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Refused("wrong_schema", f"{last}: expected an object with text; found {type(fields).__name__}")
    return fields


def _read(files: Files, name: str) -> bytes:
    last = name.rpartition("/")[2]
    try:
        raw = files.read(name, limit=MAX_BYTES)
    except OSError as error:
        raise Refused("missing_text", f"{last} cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise Refused("text_too_long", f"{last} has more than {MAX_BYTES} bytes")
    return raw
