"""Checks the parameters of a flow before anything runs, with the same rules and messages for every command.

`make plan`, `make demo` and `prefect deployment run` in this folder call `check_parameters`. A run that starts in
another way is checked by the types in the flow's signature, and by the function that makes its recipe.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from flows.options import Word
from flows.recipes import MAKERS

# The words for a type, by the first word of pydantic's error about it.
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "fields with their values",
    "dataclass": "a word or fields with their values",
}


def check_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given parameters as the flow will receive them.

    Raises ValueError that lists every fault by the name of its option.
    """
    hints = get_type_hints(flow.fn, include_extras=True)
    hints.pop("return", None)
    faults = [_describe_unknown(name, hints) for name in given if name not in hints]
    values: dict[str, Any] = {}
    for name in (each for each in given if each in hints):
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(given[name])
        except ValidationError as error:
            faults += [_describe(name, each, hints[name]) for each in error.errors()]
    if not faults:
        faults = _find_recipe_faults(flow, values)
    if faults:
        raise ValueError(
            f"{flow.name} cannot run with these parameters:\n" + "\n".join(f"  - {each}" for each in faults)
        )
    return values


def check_deployment(root: Path, entrypoint: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check parameters against the flow at an entrypoint in a project's folder, and return them as they are sent.

    What a word found here, such as a recipe file, is sent as its fields: the run may be elsewhere, and the file may
    change. Raises ValueError for any fault.
    """
    path, _, name = entrypoint.rpartition(":")
    checked = check_parameters(load_flow_from_entrypoint(f"{root / path}:{name}"), parameters)
    return {
        name: checked[name] if isinstance(given, str) and isinstance(checked[name], dict) else given
        for name, given in parameters.items()
    }


def _find_recipe_faults(flow: Flow[..., Any], values: Mapping[str, Any]) -> list[str]:
    """Make the recipe as the flow will, and return the faults that stop it."""
    maker, defaults = (
        MAKERS.get(flow.name),
        {name: each.default for name, each in inspect.signature(flow.fn).parameters.items()},
    )
    if maker is None or not inspect.signature(maker).parameters.keys() <= defaults.keys():  # another project's flow
        return []
    try:
        maker(**{name: values.get(name, defaults[name]) for name in inspect.signature(maker).parameters})
    except ValueError as error:
        return [str(error)]
    return []


def _describe_unknown(name: str, hints: Mapping[str, Any]) -> str:
    """Describe an unknown option: suggest one that has it as a field, the flow that has it, or one of similar name."""
    owners = [option for option, hint in hints.items() if name in _list_fields(hint)]
    if owners:
        return f"{name}: there is no such option, but {owners[0]} has it: -p {owners[0]}='{{\"{name}\": ...}}'"
    flows = [flow for flow, maker in MAKERS.items() if name in inspect.signature(maker).parameters]
    if flows:
        return f"{name}: this is an option of {' and '.join(flows)}. The options here are {', '.join(hints)}"
    nearest = _find_nearest(name, hints)
    return f"{name}: there is no such option; did you mean {nearest}? The options are {', '.join(hints)}"


def _find_nearest(name: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def _find_group(hint: Any) -> type | None:
    """Return the group type of an option, or None if it is not a group."""
    words = hint.__metadata__ if get_origin(hint) is Annotated else ()
    if word := next((each for each in words if isinstance(each, Word)), None):
        return word.group
    return next((found for each in get_args(hint) if (found := _find_group(each))), None)


def _list_fields(hint: Any) -> list[str]:
    group = _find_group(hint)
    return [each.name for each in fields(group)] if group and is_dataclass(group) else []


def _describe(option: str, error: ErrorDetails, hint: Any) -> str:
    """Describe a fault in an option, by the name of its field."""
    where = ".".join(str(each) for each in (option, *error["loc"]))
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"  # pyright: ignore[reportTypedDictNotRequiredAccess]
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        names = [each for each in error["loc"] if not isinstance(each, int)]
        known = _list_fields(hint) if len(names) == 1 else []
        meant = (
            f"; did you mean {_find_nearest(str(error['loc'][-1]), known)}? The fields are {', '.join(known)}"
            if known
            else ""
        )
        return f"{where}: there is no such field{meant}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}: this field is needed"
    expected = (error.get("ctx") or {}).get("expected") or EXPECTED.get(error["type"].partition("_")[0])
    return f"{where}: found {error['input']!r}; expected {expected or error['msg']}"
