"""Recipes of a user's own: a TOML file, or the same fields as plain values, based on a recipe that ships.

`base` names the recipe to begin with; every other field has the recipe's own name. TOML has no null, so `unset` lists
the fields that are to be None.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comem_core.recipes.fields import CODE, change_fields, find_kind, list_hints, list_names
from comem_core.recipes.recipe import Recipe
from comem_core.recipes.scaling import fit_start

ENDING = ".toml"
BASE, NAME, UNSET, RUN = "base", "name", "unset", "run"
OWN_SYNTHESIS = "own_synthesis"
OWN_NAME = re.compile(r"[\w.-]+")
LARGEST_FILE = 1_000_000  # bytes
Shipped = Mapping[str, Callable[[], Recipe]]


def read_recipe_file(path: str | Path) -> dict[str, Any]:
    """Read a recipe file as plain values. Its recipe has the file's name, unless the file states another.

    Raises ValueError for a file that is missing, too large, or not TOML in UTF-8.
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # also False for a path that cannot be one, such as a far too long one
        raise ValueError(f"{path}: no such file; a recipe file is looked for in {Path.cwd()}, or has its whole path")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, which is too large for a recipe")
        stated = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error
    return {NAME: re.sub(r"[^\w.-]+", "_", path.stem)} | stated


def make_own_recipe(stated: Mapping[str, Any], shipped: Shipped, *, where: str = "") -> Recipe:
    """Make a recipe from its base and the fields that differ.

    `where` is the file that states them, for messages. Fields with `run` are those of a recorded run, and complete:
    they have no base, and keep the run's name.

    Raises ValueError that lists every fault, each by the full name of its field.
    """
    own = {name: value for name, value in stated.items() if name not in (BASE, UNSET, RUN)}
    if RUN in stated:
        recipe, faults = change_fields(Recipe, _drop_versions(own))
    else:
        recipe, faults = _change_base(stated, own, shipped)
    if faults:
        opening = f"{where}: " if where else ""
        raise ValueError(opening + f"\n    {opening}".join(faults))
    return recipe


def _change_base(stated: Mapping[str, Any], own: dict[str, Any], shipped: Shipped) -> tuple[Recipe, list[str]]:
    named, name = stated.get(BASE), stated.get(NAME)
    known = named.replace("-", "_") if isinstance(named, str) else ""
    if known not in shipped:
        found = f"found {named!r}" if BASE in stated else "this field is needed"
        return Recipe(name=""), [f"{BASE}: {found}; expected one of {', '.join(shipped)}"]
    base, faults = shipped[known](), _find_name_faults(name, shipped)
    unset, found = _read_unset(stated.get(UNSET, []), own)
    if base.own_synthesis is None and OWN_SYNTHESIS in own:  # None means that `synthesis` is used
        changed, _ = change_fields(base, {each: own[each] for each in ("synthesis",) if each in own})
        base = replace(base, own_synthesis=changed.synthesis)
    recipe, changing = change_fields(base, _merge(own, unset))
    training = own.get("training")
    is_start_stated = isinstance(training, Mapping) and "start" in training
    return recipe if is_start_stated else fit_start(recipe, base), faults + found + changing


def _find_name_faults(name: Any, shipped: Shipped) -> list[str]:
    if name is None:
        return [f"{NAME}: this field is needed; it names the results of your recipe"]
    if not isinstance(name, str) or not OWN_NAME.fullmatch(name):
        return [f"{NAME}: found {name!r}; expected letters, digits, or any of _ - ."]
    if name.replace("-", "_") in shipped or name.endswith(ENDING):
        return [f"{NAME}: found {name!r}, which is a recipe that ships, or a file; give your recipe another name"]
    return []


def _read_unset(names: Any, own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of `unset` as nested fields that are None, and the faults."""
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        return {}, [f'{UNSET}: found {names!r}; expected a list of fields, such as ["training.start"]']
    nested, faults = dict[str, Any](), list[str]()
    known = set(list_names(Recipe))
    for name in names:
        *parts, last = name.split(".")
        inside = own
        for part in parts:
            inside = inside.get(part, {}) if isinstance(inside, Mapping) else {}
        if name not in known:
            faults.append(f"{UNSET}: {name!r} is not a field of a recipe")
        elif not _may_be_none(name):
            faults.append(f"{UNSET}: {name!r} always has a value; state another one instead")
        elif isinstance(inside, Mapping) and last in inside:
            faults.append(f"{UNSET}: {name!r} has a value in this recipe too; keep one of the two")
        else:
            place = nested
            for part in parts:
                place = place.setdefault(part, {})
            place[last] = None
    return nested, faults


def _may_be_none(name: str) -> bool:
    kind: Any = Recipe
    *parts, last = name.split(".")
    for part in parts:
        kind = find_kind(list_hints(kind)[part])[0]
    return find_kind(list_hints(kind)[last])[1]


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, value in other.items():
        before = merged.get(name)
        merged[name] = _merge(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged


def _drop_versions(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the versions of the code that made a run: the code of today has its own."""
    return {
        name: _drop_versions(value) if isinstance(value, Mapping) else value
        for name, value in stated.items()
        if name != CODE
    }
