"""The one rule of reuse: a result, an artefact or a single row, is named by everything that decides it.

These are the stage, the version of the stage's code, the key (plain values) and the inputs. A result whose name exists
already is not made again: `tasks.engine.stage` finds artefacts by it, and `tasks.rows.earlier` single rows.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib.metadata import version as read_version
from typing import Any

from comem_core.neutral import is_off
from tasks.engine.context import Context
from tasks.engine.store import Store

DECIDING = ("torch", "transformers", "peft", "tokenizers", "pillow", "faiss-cpu")
"""The libraries that decide results; every record keeps their versions, which are in no name."""
NAMING = 2
"""The version of this rule. Records keep it; records of version 1 lack it."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How a page explains that two results of a stage differ; the warehouse keeps it as a row (`Stage.row`).

    - `subject`: the word for the stage on pages (None: its name).
    - `roles`: further names under which other stages take its results.
    - `extent`: fields of the key that decide how much is made, but not how.
    - `kinds`: fields of the key that tell kinds of results apart; results of different kinds are not compared further.
    - `fallbacks`: maps a role of inputs to the role that is used if it is absent.
    - `beside`: a difference in this stage changes no official score.
    - `essential`: the absence of this stage is itself a difference.
    - `caption`: the title of the loss curve of a stage that trains.
    """

    subject: str | None = None
    roles: tuple[str, ...] = ()
    extent: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    beside: bool = False
    essential: bool = False
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage as its module declares it: its name in store and warehouse, the version of its code, and the warehouse
    table of its rows, if they have one. `of` is the role of the input that tells results of one run apart.

    Raise `version` when the code makes something else from the same key and inputs; older results are then not reused.
    """

    name: str
    version: str
    table: str | None = None
    explained: Explanation = Explanation()
    of: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The stage as a row of the warehouse's table `stage`."""
        values = vars(self.explained)
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists | {"name": self.name, "subject": self.explained.subject or self.name}


def fingerprint(stage: Stage, key: object, inputs: Mapping[str, str]) -> str:
    """Return the name (16 hex digits) of what a stage makes from a key and from named inputs.

    `inputs` maps roles to fingerprints; for a single row, to the versions of the stages that it depends on. Names of
    classes and fields that are switched off do not count (`comem_core.neutral`).

    Raises:
        TypeError: the key is not a frozen dataclass of plain values.
        ValueError: one of its values is a path, or a number that is not finite.
    """
    made_from = {"stage": stage.name, "version": stage.version, "key": set_fields(key), "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def explain_older_names(store: Store, *, remember: bool = True) -> str | None:
    """Explain once that a store has results named by an older rule, which are made anew; None if it has none.

    Without `remember`, the next call explains it again.
    """
    noted = store.folder / ".naming"
    if store.place != str(store.folder):  # no store at an address is as old as that
        return None
    if not store.folder.is_dir() or (noted.exists() and noted.read_text() == str(NAMING)):
        return None
    older = [record for record in store.all_records() if record.get("naming", 1) != NAMING]
    if remember:
        noted.write_text(str(NAMING))
    if not older:
        return None
    return (
        f"{len(older)} results in {store.folder} have names that an older version of comem gave them (names no longer "
        "depend on names of classes, nor on options that are off). They cannot be reused, so this run makes its "
        "results anew, this once. Nothing is deleted, and encoders that were trained before can still be evaluated; "
        "remove the older results when you no longer need them"
    )


def set_fields(key: object) -> dict[str, Any]:
    """Return the fields of a frozen dataclass by name, without those that are switched off; likewise inside it.

    Raises:
        TypeError: `key` is a context, or not a frozen dataclass.
        ValueError: one of the values is a path.
    """
    if isinstance(key, Context):
        raise TypeError("a context says where a run works and never names a result; give a recipe or a key")
    if isinstance(key, type) or not is_dataclass(key) or not key.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise TypeError(f"a key is a frozen dataclass; got {type(key).__name__}")
    values = {each.name: (each, getattr(key, each.name)) for each in fields(key)}
    return {name: _to_plain(value, name) for name, (each, value) in values.items() if not is_off(each, value)}


def _to_plain(value: object, where: str) -> Any:
    if is_dataclass(value):
        return set_fields(value)
    if isinstance(value, Mapping):
        return {name: _to_plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item, where) for item in value]
    if isinstance(value, os.PathLike) or (isinstance(value, str) and os.path.isabs(value)):
        raise ValueError(f"{where} is the path {str(value)!r}; paths belong to the context and never name a result")
    return value


@dataclass(frozen=True)
class RowNames:
    """Names the rows of a stage, each by its content and by what decides all of them alike.

    `common` is the fingerprint of the latter, so that a million rows are named in seconds.
    """

    common: str

    @classmethod
    def of(cls, stage: Stage, key: object, inputs: Mapping[str, str]) -> "RowNames":
        """Return what names rows. Arguments and errors are those of `fingerprint`."""
        return cls(fingerprint(stage, key, inputs))

    def name(self, *content: object) -> str:
        """Return the name (16 hex digits) of the row with this content, which is plain values."""
        return hashlib.sha256(json.dumps([self.common, *content]).encode()).hexdigest()[:16]


@cache
def list_libraries() -> dict[str, str]:
    """Return the version of each library by name, without the build (for a CPU, for a GPU)."""
    return {name: read_version(name).split("+")[0] for name in DECIDING}


def join_versions(used: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the version of each library by name; of several, all in order, such as `2.13.0 and 2.14.0`."""
    versions: dict[str, list[str]] = {}
    for each in used:
        for name, found in each.items():
            versions.setdefault(name, [])
            versions[name] += [version for version in found.split(" and ") if version not in versions[name]]
    return {name: " and ".join(found) for name, found in versions.items()}
