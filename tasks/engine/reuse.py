"""The one rule of reuse: a result, an artefact or a single row, is named by everything that decides it.

That is the stage that makes it and the version of the stage's code, the key (plain values), and what it is made from.
What has the same name is not made twice.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pyarrow.parquet as pq

from comem_core.neutral import is_off
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.store import Store
from warehouse.schemas import check_rows

NAMING = 2
"""The version of this rule. Records keep it; those of version 1 have none."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How a page explains that two results of a stage differ; the warehouse is handed it as a row (`Stage.row`).

    `subject` is what a reader calls the stage (None: its name). `roles` are the names, besides the stage's own, under
    which other stages take its results. `extent` are fields of the key that say how much is made, and not how. `kinds`
    are fields of the key that tell one kind of thing from another: how the two were made is then not compared.
    `fallbacks` maps roles of inputs to the role that counts where they are absent. A difference of a stage that is
    `beside` moves no official score. Of an `essential` one it matters whether it was there at all. `caption` stands
    above the loss curve of a stage that trains.
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
    """A stage as its module declares it: its name in store and warehouse, the version of its code, and the table that
    its rows belong to, if they belong to one.

    Raise `version` when the code makes something else from the same key and inputs: then nothing older is reused.
    """

    name: str
    version: str
    table: str | None = None
    explained: Explanation = Explanation()

    @property
    def row(self) -> dict[str, Any]:
        """What the warehouse is told of the stage: a row of its table stage."""
        values = vars(self.explained)
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists | {"name": self.name, "subject": self.explained.subject or self.name}


def fingerprint(stage: Stage, key: object, inputs: Mapping[str, str]) -> str:
    """Return the name (16 hex digits) of what a stage makes from a key and from named inputs.

    `inputs` maps roles to fingerprints, or, of a row, to the versions of the stages that it rests on. The names of
    class names and fields that are switched off do not count (`comem_core.neutral`).

    Raises:
        TypeError: the key is not a frozen dataclass of plain values.
        ValueError: there is a path among its values, or a number that is not finite.
    """
    made_from = {"stage": stage.name, "version": stage.version, "key": set_fields(key), "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def explain_older_names(store: Store, *, remember: bool = True) -> str | None:
    """Explain once that a store's results were named by an older rule and are made anew; None where none were.

    Without `remember` it will be explained again.
    """
    told = store.folder / ".naming"
    if not store.folder.is_dir() or (told.exists() and told.read_text() == str(NAMING)):
        return None
    older = [record for record in store.all_records() if record.get("naming", 1) != NAMING]
    if remember:
        told.write_text(str(NAMING))
    if not older:
        return None
    return (
        f"{len(older)} results in {store.folder} have names that an older version of comem gave them (names no longer "
        "depend on names of classes, nor on options that are off). They cannot be reused, so this run makes its "
        "results anew, this once. Nothing is deleted, and encoders that were trained before can still be evaluated; "
        "remove the folder when you no longer need them"
    )


def set_fields(key: object) -> dict[str, Any]:
    """Return the fields of a frozen dataclass by name, without those that are switched off; likewise inside it.

    Raises:
        TypeError: it is a context, or not a frozen dataclass.
        ValueError: there is a path among the values.
    """
    if isinstance(key, Context):
        raise TypeError("a context says where a run works and never names a result; give a recipe or a key")
    if isinstance(key, type) or not is_dataclass(key) or not key.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise TypeError(f"a key is a frozen dataclass; got {type(key).__name__}")
    values = {each.name: (each, getattr(key, each.name)) for each in fields(key)}
    return {name: _plain(value, name) for name, (each, value) in values.items() if not is_off(each, value)}


def _plain(value: object, where: str) -> Any:
    if is_dataclass(value):
        return set_fields(value)
    if isinstance(value, Mapping):
        return {name: _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, os.PathLike) or (isinstance(value, str) and os.path.isabs(value)):
        raise ValueError(f"{where} is the path {str(value)!r}; paths belong to the context and never name a result")
    return value


def take_over(
    artefact: Partial, shard: str, find: Callable[[], list[dict[str, Any]]], *, stage: Stage, key: str
) -> set[str]:
    """Write what `find` finds among earlier rows as a shard, measure how many there are, and return their keys.

    It is decided once: an artefact that goes on makes what it would have made.
    """
    path = artefact.folder / f"{shard}.parquet"
    if not path.exists():
        rows = find()
        artefact.write_shard(shard, check_rows(stage.table or stage.name, rows))
        artefact.measure(shard.removeprefix("part-").replace("-", "_"), len(rows))
    return set(pq.read_table(path, columns=[key])[key].to_pylist())


def find_rows(store: Store, stage: Stage, *, key: str, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with one of these keys, oldest first, of the stage's undamaged artefacts.

    A key names everything that decides a row, so it does not matter which artefact the row stands in.
    """
    for record in store.list_records(stage.name) if keys else ():
        if store.damage(record):
            continue
        for path in sorted(store.find_path(stage.name, record["fingerprint"]).glob("part-*.parquet")):
            if key in pq.read_schema(path).names:
                yield from pq.read_table(path, filters=[(key, "in", keys)]).to_pylist()
