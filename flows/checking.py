"""Checks what a flow is asked before anything of it runs: the same rules and the same words, whoever asks.

`make plan`, `make demo` and `prefect deployment run` in this folder call `check_parameters`; a run that comes another
way is checked by the types of the flow's own signature, and by what makes its recipe.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from flows.options import Word
from flows.recipes import MAKERS


def check_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flow's parameters as the flow will have them.

    Raises ValueError that lists every fault by the name of its option.
    """
    hints = get_type_hints(flow.fn, include_extras=True)
    hints.pop("return", None)
    faults = [_unknown(name, hints) for name in given if name not in hints]
    values: dict[str, Any] = {}
    for name in (each for each in given if each in hints):
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(given[name])
        except ValidationError as error:
            faults += [_describe(name, each, hints[name]) for each in error.errors()]
    if not faults:
        faults = _faults_together(flow, values)
    if faults:
        raise ValueError(
            f"{flow.name} cannot run with these parameters:\n" + "\n".join(f"  - {each}" for each in faults)
        )
    return values


def check_deployment(root: Path, entrypoint: str, parameters: Mapping[str, Any]) -> None:
    """Check parameters against the flow at an entrypoint below a project's folder. Raises ValueError."""
    path, _, name = entrypoint.rpartition(":")
    check_parameters(load_flow_from_entrypoint(f"{root / path}:{name}"), parameters)


def find_declared(root: Path, deployment: str) -> tuple[str, dict[str, Any]] | None:
    """Find the entrypoint and the parameters of a deployment, `flow/name`, that prefect.yaml declares."""
    flow_name, _, name = deployment.partition("/")
    for each in yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]:
        function = each["entrypoint"].rpartition(":")[2]
        if (function.replace("_", "-"), each["name"]) == (flow_name, name):
            return each["entrypoint"], each.get("parameters") or {}
    return None


def _faults_together(flow: Flow[..., Any], values: Mapping[str, Any]) -> list[str]:
    """Make the recipe, as the flow will, and say what stops that."""
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


def _unknown(name: str, hints: Mapping[str, Any]) -> str:
    """Say which option was meant: one of a like name, or one that has it as a field."""
    owners = [option for option, hint in hints.items() if name in _field_names(hint)]
    if owners:
        return f"{name}: there is no such option, but {owners[0]} has it: -p {owners[0]}='{{\"{name}\": ...}}'"
    return f"{name}: there is no such option; did you mean {_nearest(name, hints)}? The options are {', '.join(hints)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def _group_of(hint: Any) -> type | None:
    """Return the group that an option is, or None."""
    if get_origin(hint) is Annotated:
        return next((each.group for each in hint.__metadata__ if isinstance(each, Word)), None)
    return next((found for each in get_args(hint) if (found := _group_of(each))), None)


def _field_names(hint: Any) -> list[str]:
    group = _group_of(hint)
    return [each.name for each in fields(group)] if group and is_dataclass(group) else []


def _describe(option: str, error: ErrorDetails, hint: Any) -> str:
    """Say what is wrong with an option, by the name of its field."""
    where = ".".join(str(each) for each in (option, *error["loc"]))
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"  # pyright: ignore[reportTypedDictNotRequiredAccess]
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _field_names(hint) if len(error["loc"]) == 1 else []
        meant = (
            f"; did you mean {_nearest(str(error['loc'][-1]), known)}? The fields are {', '.join(known)}"
            if known
            else ""
        )
        return f"{where}: there is no such field{meant}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}: this field is needed"
    expected = (error.get("ctx") or {}).get("expected")
    return f"{where}: found {error['input']!r}; " + (
        f"expected {expected}" if expected else error["msg"].replace("Input should be", "expected")
    )
