"""Reads texts and JSON fields from files beside a picture, up to a size limit; says what is wrong with any JSON.

Independent of pictures.
"""

import codecs
import json
from typing import Any

from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import Refused

NOT_JSON = "not JSON: "
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
    last, text = name.rpartition("/")[2], read_text(files, name)
    try:
        fields = read_json(text)
    except Refused as refused:
        raise Refused(refused.reason, f"{last} is {refused.detail}") from refused
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


def read_json(raw: bytes | str) -> Any:
    """Read JSON in UTF-8, UTF-16 or UTF-32. Raises Refused with what is wrong and where."""
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
    except UnicodeDecodeError as error:
        if error.end == len(raw):
            raise Refused("wrong_schema", f"JSON that ends early, within a letter at byte {error.start}") from error
        raise Refused("wrong_schema", f"{NOT_JSON}its bytes are not text at byte {error.start}") from error
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_make_object)
    except json.JSONDecodeError as error:
        raise Refused("wrong_schema", _describe(error)) from error
    except (ValueError, RecursionError) as error:
        raise Refused("wrong_schema", f"JSON that cannot be read: {error}") from error


def _describe(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return f"{NOT_JSON}it is empty"
    if error.msg == "Extra data" and error.colno == 1:
        return f"{NOT_JSON}a second value begins at line {error.lineno}; name a file of JSON Lines .jsonl"
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        lines = error.doc.splitlines()
        return f"JSON that ends early, at line {len(lines)} column {len(lines[-1])}"
    return f"{NOT_JSON}{error.msg} at line {error.lineno} column {error.colno}"


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Refused("wrong_schema", f"JSON with an object that has the field {', '.join(twice)} more than once")
    return made
