"""Changes the fields of a recipe to plain values, as a file or a parameter states them, checked by their own types."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from comem_core.ranges import Range

# A recipe's versions belong to the code that reads it.
CODE = "version"
LARGEST = 2**63  # of what TOML and JSON hold alike
WORDS: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def change_fields(part: Any, stated: Mapping[str, Any], *, within: str = "") -> tuple[Any, list[str]]:
    """Return a recipe, or a part of one, with the stated fields, and every fault by the full name of its field.

    `part` is a frozen dataclass, or the class of one, which then begins with its defaults. `within` is the name of the
    part in the recipe, with a dot at its end. With faults, the part comes back unchanged.
    """
    kind = part if isinstance(part, type) else type(part)
    hints, values, faults = list_hints(kind), dict[str, Any](), list[str]()
    for name, value in stated.items():
        if name not in hints:
            faults.append(f"{within}{name}: there is no such field; {_suggest(name, hints, within)}")
            continue
        current = None if isinstance(part, type) else getattr(part, name)
        values[name], found = _read(hints[name], current, value, within + name)
        faults += found
    if isinstance(part, type):
        missing = [each for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]
        faults += [f"{within}{each.name}: this field is needed" for each in missing if each.name not in stated]
    if faults:
        return part, faults
    try:
        return (part(**values) if isinstance(part, type) else replace(part, **values)), []
    except ValueError as error:
        return part, [f"{within.removesuffix('.')}: {error}"]


def list_hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields that a user may state, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind) if each.name != CODE}


def find_kind(hint: Any) -> tuple[Any, bool]:
    """Return the type of a field without None and ranges, and whether it may be None."""
    if get_origin(hint) in (Union, UnionType):
        [inner] = [each for each in get_args(hint) if each is not NoneType]
        return find_kind(inner)[0], True
    return (get_args(hint)[0], False) if get_origin(hint) is Annotated else (hint, False)


def list_names(kind: type, within: str = "") -> Iterator[str]:
    """Yield the full name of every field and of every part below a recipe's class."""
    for name, hint in list_hints(kind).items():
        yield within + name
        inner = find_kind(hint)[0]
        if isinstance(inner, type) and is_dataclass(inner):
            yield from list_names(inner, f"{within}{name}.")


def _read(hint: Any, current: Any, value: Any, name: str) -> tuple[Any, list[str]]:
    kind, may_be_none = find_kind(hint)
    if value is None and may_be_none:
        return None, []
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            return None, [f"{name}: found {value!r}; expected its fields, each with a value"]
        return change_fields(kind if current is None else current, value, within=f"{name}.")
    try:
        return _read_plain(hint, value), []
    except ValueError as error:
        return None, [f"{name}: {error}"]


def _read_plain(hint: Any, value: Any) -> Any:
    """Return a value of exactly this type. Raises ValueError that says what was found and expected."""
    if get_origin(hint) in (Union, UnionType):
        [hint] = [each for each in get_args(hint) if each is not NoneType]
    rule = next((each for each in get_args(hint)[1:] if isinstance(each, Range)), None)
    kind = find_kind(hint)[0]
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value)
    if not _is_of(kind, value) or (rule is not None and not rule.allows(value)):
        raise ValueError(f"found {_show(value)}; expected {_describe(kind, rule)}")
    return float(value) + 0.0 if kind is float else value  # -0.0 and 0.0 are one number, and so one name


def _is_of(kind: Any, value: Any) -> bool:
    """Tell whether a value is of a plain type; a number must be finite, and a text have a letter."""
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind in (int, float):
        return (type(value) is int or type(value) is kind) and abs(value) < LARGEST
    return type(value) is kind and not (kind is str and not value.strip())


def _read_tuple(kinds: Sequence[Any], value: Any) -> tuple[Any, ...]:
    any_length = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple):
        raise ValueError(f"found {_show(value)}; expected a list")
    if not any_length and len(value) != len(kinds):
        raise ValueError(f"found {_show(value)}; expected a list of {len(kinds)} values")
    each = [kinds[0]] * len(value) if any_length else kinds
    return tuple(_read_plain(hint, inner) for hint, inner in zip(each, value, strict=True))


def _show(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    shown = repr(value) if isinstance(value, str | int | float | list | tuple | Mapping | NoneType) else str(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def _describe(kind: Any, rule: Range | None) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = "a text of at least one letter" if kind is str else WORDS[kind]
    return words if rule is None else f"{words}, {rule}"


def _suggest(name: str, hints: Mapping[str, Any], within: str) -> str:
    """Name the field that may be meant: of this name in another part, or of the most similar name in this part."""
    from comem_core.recipes.recipe import Recipe

    elsewhere = [each for each in list_names(Recipe) if each.rpartition(".")[2] == name and each != within + name]
    if elsewhere and not difflib.get_close_matches(name, list(hints), n=1, cutoff=0.8):
        return f"did you mean {' or '.join(elsewhere)}?"
    nearest = difflib.get_close_matches(name, list(hints), n=1, cutoff=0.0)[0]
    return f"did you mean {within}{nearest}? The fields are {', '.join(hints)}"
