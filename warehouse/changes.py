"""What differs between two makings of a thing: which of the things it was made of, and how, down to the first cause.

A thing differs by a *cause* of its own (its version, its recipe, a library) or because an input differs.
Causes are told apart from consequences: an encoder that was trained on other samples follows from what changed those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.records import find_artefact

# What a reader calls the stage in which a cause lies, and some of the recipe's fields.
SUBJECTS = {
    "predictions": "asking",
    "scores": "scoring",
    "encoder": "encoder",
    "bank": "bank",
    "index": "index",
    "retrieval": "retrieval",
    "benchmark": "benchmark data",
    "held-out": "held-out questions",
    "knowledge": "knowledge",
    "backbone": "reader",
    "judgements": "judge",
    "reader": "reader",
    "transfer": "projection to the reader",
}
# How much was asked, not how: what both evaluations asked is compared, and these say what else one of them asked.
EXTENT = {
    ("predictions", "conditions"),
    ("predictions", "k"),
    ("scores", "conditions"),
    ("scores", "judge"),
    ("scores", "unparsable"),
    ("benchmark", "num_questions"),
    ("retrieval", "k"),
}
# What a judge says moves no official mark, whatever it is made of.
BESIDE = {"judgements"}
INPUTS = {"questions": "benchmark", "retrieved": "retrieval"}
FIELDS = {"prompts_sha256": "prompt", "revision": "data revision"}


@dataclass(frozen=True, order=True)
class Change:
    """One cause: what changed (`prompt`, `library torch`, `encoder`), in which stage's making, from what to what.

    `extent` means that only how much was asked has changed, which moves no answer that both have.
    """

    subject: str
    stage: str
    before: str
    now: str
    extent: bool = False

    def __str__(self) -> str:
        return f"{self.subject} ({self.stage}): {self.before} -> {self.now}"


def changes_between(con: DuckDBPyConnection, before: str, now: str) -> list[Change]:
    """List the causes for which two artefacts differ, none where they are the same one.

    Raises ValueError for an artefact that is not in the warehouse.
    """
    for fingerprint in (before, now):
        if find_artefact(con, fingerprint) is None:
            raise ValueError(f"the warehouse has no artefact {fingerprint!r}")
    return sorted(set(_causes(con, "", before, now, seen=set())))


def changed_inputs(con: DuckDBPyConnection, before: str, now: str) -> list[str]:
    """Name the direct inputs in which two artefacts differ, as a reader calls them."""
    old, new = (find_artefact(con, fingerprint) for fingerprint in (before, now))
    if old is None or new is None:
        return []
    differing = _differing(_with_reader(old), _with_reader(new))
    return sorted(_subject(role) for role, _, _ in differing)


def recipe_differences(con: DuckDBPyConnection, before: str, now: str) -> list[tuple[str, str, str]]:
    """List the fields in which the recipes of two runs differ: path, value before, value now."""
    query = "SELECT recipe FROM run WHERE run_id = ?"
    found = [con.execute(query, [run_id]).fetchone() for run_id in (before, now)]
    old, new = (json.loads(row[0]) if row and row[0] else {} for row in found)
    return [(name, _short(was), _short(is_now)) for name, was, is_now in differing_fields(old, new)]


def _causes(
    con: DuckDBPyConnection, role: str, before: str, now: str, *, seen: set[tuple[str, str]]
) -> Iterator[Change]:
    if before == now or (before, now) in seen:
        return
    seen.add((before, now))
    old, new = find_artefact(con, before), find_artefact(con, now)
    if old is None or new is None:
        yield Change(_subject(role), role, before, now)
        return
    if not of_one_kind(old, new):
        yield two_things(con, role, before, now)
        return
    own = list(_own(old, new))
    yield from own
    old_inputs, new_inputs = _with_reader(old), _with_reader(new)
    further = [
        cause
        for name in sorted(old_inputs.keys() | new_inputs.keys())
        for cause in _input_causes(con, name, old_inputs.get(name), new_inputs.get(name), seen=seen)
    ]
    yield from further


def two_things(con: DuckDBPyConnection, role: str, before: str, now: str) -> Change:
    """Say that in a role there are two different things, by what each is, and nothing of how they were made."""
    old, new = (find_artefact(con, fingerprint) for fingerprint in (before, now))
    assert old is not None and new is not None, (before, now)
    return Change(
        f"another {_subject(role).removesuffix(' data')}", role or new["stage"], _described(old), _described(new)
    )


def of_one_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether two records are of one kind, so that how they were made can be compared field by field.

    Two kinds are two stages, two benchmarks, or two recipes of one stage: other fields, and made of other things
    altogether.
    """
    if old["stage"] != new["stage"]:
        return False
    if new["stage"] == "benchmark" and old["recipe"].get("benchmark") != new["recipe"].get("benchmark"):
        return False
    fields, roles = (({*old[part]}, {*new[part]}) for part in ("recipe", "inputs"))
    if fields[0] == fields[1]:
        return True
    share_roles = roles[0] & roles[1] or not roles[0] | roles[1]
    return bool(fields[0] & fields[1] and share_roles)


def _described(record: Mapping[str, Any]) -> str:
    """Name an artefact by what it is."""
    of = record["recipe"].get("benchmark")
    return f"{record['stage']} {record['fingerprint']}" + (f" ({of})" if of else "")


def _subject(role: str) -> str:
    """What a reader calls the thing in a role; of what was compared itself, no role says it."""
    return SUBJECTS.get(INPUTS.get(role, role), role) or "thing"


def _with_reader(record: Mapping[str, Any]) -> Mapping[str, str]:
    """The inputs of an artefact; of answers, who gave them too: the backbone, where no other reader is named."""
    inputs = record["inputs"]
    if record["stage"] == "predictions" and "backbone" in inputs:
        return {"reader": inputs["backbone"]} | inputs
    return inputs


def _input_causes(
    con: DuckDBPyConnection, role: str, before: str | None, now: str | None, *, seen: set[tuple[str, str]]
) -> Iterator[Change]:
    if before is None or now is None:
        yield Change(_subject(role), role, before or "none", now or "none", extent=role != "transfer")
    else:
        yield from _causes(con, role, before, now, seen=seen)


def _own(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what differs in how the two were made, apart from what they were made of."""
    stage = new["stage"]
    beside = stage in BESIDE
    if old["version"] != new["version"]:
        yield Change(
            f"how {SUBJECTS.get(stage, stage)} works",
            stage,
            f"version {old['version']}",
            f"version {new['version']}",
            extent=beside,
        )
    for library, before, now in _differing(old["libraries"] or {}, new["libraries"] or {}):
        yield Change(f"library {library}", stage, before, now, extent=beside)
    recipes = [
        {name: each for name, each in (record["recipe"] or {}).items() if name != "libraries"} for record in (old, new)
    ]
    for name, *values in differing_fields(*recipes):
        before, now = map(_short, values)
        named = f"{SUBJECTS.get(stage, stage)}: {name}"
        subject = named if beside else FIELDS.get(name.split(".")[-1], named)
        yield Change(subject, stage, before, now, extent=beside or (stage, name) in EXTENT)


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, _short(old.get(name)), _short(new.get(name))


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two recipes differ: path, value before, value now.

    A field that one side lacks did not exist when that was made, which means that it was off: a value that is off too
    (null, false, zero, empty) is no difference.
    """
    flat_old, flat_new = flat_fields(old), flat_fields(new)
    for name in sorted(flat_old.keys() | flat_new.keys()):
        before, now = flat_old.get(name), flat_new.get(name)
        is_new = name not in flat_old or name not in flat_new
        if before != now and not (is_new and not (before or now)):
            yield name, before, now


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:57]}..."


def flat_fields(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Name the plain values of a recipe by their path, each as JSON has it, where a tuple is a list."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_fields(value, f"{under}{name}.")
        else:
            flat[f"{under}{name}"] = json.loads(json.dumps(value))
    return flat
