"""Reads JSON that somebody else may have written, and dataclasses that are kept as JSON objects.

Whatever is in such a file, the reader gets values of the declared types or a ValueError.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from comem_core.ranges import Range

LARGEST = 2**63  # of whole numbers: what is larger fits into no array
LONGEST_SHOWN = 80


def parse_json(raw: str | bytes, **options: Any) -> Any:
    """Parse JSON. Raises ValueError for what is not JSON, and for what is nested too deeply to be read."""
    try:
        return json.loads(raw, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_fields(path: Path, stated: Any) -> None:
    """Write a dataclass as a JSON object, for `read_fields`."""
    path.write_text(json.dumps(asdict(stated), indent=2) + "\n", encoding="utf-8")


def read_fields(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Read a dataclass's fields from a JSON object. Raises ValueError for a damaged file and as `refuse_unknown`."""
    try:
        stated = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are not text
        raise ValueError(f"{path} is damaged: {error}; copy it again from where it was saved") from error
    refuse_unknown(stated, kind, where=str(path))
    return stated


def refuse_unknown(stated: Any, kind: type[Any], *, where: str, optional: bool = False) -> None:
    """Raise ValueError for fields that the dataclass `kind` lacks, for values of another type or out of their range,
    and, unless `optional`, for missing fields."""
    if not isinstance(stated, Mapping):
        raise ValueError(f"{where} is a {type(stated).__name__}, expected an object")
    known = [each.name for each in fields(kind)]
    if unknown := sorted(stated.keys() - set(known)):
        raise ValueError(
            f"{where} has {', '.join(map(repr, unknown))}, which {kind.__name__} does not know (it knows "
            f"{', '.join(known)}); another version of this library wrote it"
        )
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    if not optional and (missing := sorted(needed - stated.keys())):
        raise ValueError(f"{where} is damaged: {', '.join(map(repr, missing))} is missing")
    hints = get_type_hints(kind, include_extras=True)
    for name, value in stated.items():
        if not matches(value, hints[name]):
            shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
            cut = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
            raise ValueError(f"{name!r} in {where} is {cut}, expected {_describe(hints[name])}")


def matches(value: Any, hint: Any) -> bool:
    """Tell whether a value from JSON is of a field's type, and in its range."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return matches(value, inner[0]) and all(each.allows(value) for each in inner[1:] if isinstance(each, Range))
    if origin in (Union, UnionType):
        return any(matches(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis and isinstance(value, list) else list(inner)
        return isinstance(value, list) and len(value) == len(kinds) and all(map(matches, value, kinds))
    if origin is list:
        return isinstance(value, list) and all(matches(each, inner[0]) for each in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(matches(each, inner[1]) for each in value.values())
    if hint in (int, float):
        return (type(value) is int and abs(value) < LARGEST) or (hint is float and type(value) is float)
    if hint is None or not isinstance(hint, type):
        return value is None
    return type(value) is hint if hint in (str, bool, type(None)) else isinstance(value, dict)  # fields of their own


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is Annotated:
        kind, rule = get_args(hint)
        return f"{_describe(kind)}, {rule}"
    if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        return "an object"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
