"""Finds why two artefacts of a kind differ: follows their inputs down to the first causes.

An artefact differs by a *cause* of its own (its version, its recipe, a library) or because an input differs. Only
causes are listed, and not their consequences: if an encoder was trained on other samples, the cause is what changed the
samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.declared import find_stage
from warehouse.records import find_artefact

LONGEST = 60  # letters of a value on pages
# The words on pages for fields that the recipes of many stages have.
FIELDS = {"prompts_sha256": "prompt", "revision": "data revision"}


@dataclass(frozen=True, order=True)
class Change:
    """One cause: what changed (`prompt`, `library torch`, `encoder`), in which stage, from which value to which.

    `extent` means that only the amount changed, such as more questions; it changes no answer that both sides have.
    """

    subject: str
    stage: str
    before: str
    now: str
    extent: bool = False

    def __str__(self) -> str:
        return f"{self.subject} ({self.stage}): {self.before} -> {self.now}"


def list_changes(con: DuckDBPyConnection, before: str, now: str) -> list[Change]:
    """List the causes by which two artefacts differ; there are none if they are the same one.

    Raises ValueError for an artefact that is not in the warehouse.
    """
    for fingerprint in (before, now):
        if find_artefact(con, fingerprint) is None:
            raise ValueError(f"the warehouse has no artefact {fingerprint!r}")
    return sorted(set(_find_causes(con, "", before, now, seen=set())))


def list_changed_inputs(con: DuckDBPyConnection, before: str, now: str) -> list[str]:
    """List the direct inputs in which two artefacts differ, in the words of pages."""
    old, new = (find_artefact(con, fingerprint) for fingerprint in (before, now))
    if old is None or new is None:
        return []
    inputs = _read_inputs(con, old), _read_inputs(con, new)
    return sorted(
        _find_subject(con, role, *(each.get(role) for each in inputs)) for role, _, _ in _list_differing(*inputs)
    )


def list_recipe_differences(con: DuckDBPyConnection, before: str, now: str) -> list[tuple[str, str, str]]:
    """List the fields in which the recipes of two runs differ: path, value before, value now."""
    query = "SELECT recipe FROM run WHERE run_id = ?"
    found = [con.execute(query, [run_id]).fetchone() for run_id in (before, now)]
    old, new = (json.loads(row[0]) if row and row[0] else {} for row in found)
    return [(name, *_shorten_both(was, is_now)) for name, was, is_now in differing_fields(old, new)]


def _find_causes(
    con: DuckDBPyConnection, role: str, before: str, now: str, *, seen: set[tuple[str, str]]
) -> Iterator[Change]:
    if before == now or (before, now) in seen:
        return
    seen.add((before, now))
    old, new = find_artefact(con, before), find_artefact(con, now)
    if old is None or new is None:
        yield Change(_find_subject(con, role, before, now), role, before, now)
        return
    if not is_of_one_kind(old, new, find_stage(con, new["stage"]).kinds):
        yield describe_two_things(con, role, before, now)
        return
    own = list(_find_own_causes(con, old, new))
    yield from own
    old_inputs, new_inputs = _read_inputs(con, old), _read_inputs(con, new)
    further = [
        cause
        for name in sorted(old_inputs.keys() | new_inputs.keys())
        for cause in _find_input_causes(con, name, old_inputs.get(name), new_inputs.get(name), seen=seen)
    ]
    yield from further


def describe_two_things(con: DuckDBPyConnection, role: str, before: str, now: str) -> Change:
    """Describe the two different things in a role, but not how they were made."""
    old, new = (find_artefact(con, fingerprint) for fingerprint in (before, now))
    assert old is not None and new is not None, (before, now)
    subject = _find_subject(con, role, before, now).removesuffix(" data")
    return Change(
        f"another {subject}", role or new["stage"], _describe_artefact(con, old), _describe_artefact(con, new)
    )


def is_of_one_kind(old: Mapping[str, Any], new: Mapping[str, Any], kinds: Sequence[str]) -> bool:
    """Tell whether two records are of one kind, so that their fields can be compared.

    The kinds differ if the stages differ, if a recipe's field in `kinds` differs, or if the fields of the recipes
    differ and the records share no field or no role of inputs.
    """
    if old["stage"] != new["stage"]:
        return False
    if any(old["recipe"].get(kind) != new["recipe"].get(kind) for kind in kinds):
        return False
    fields, roles = (({*old[part]}, {*new[part]}) for part in ("recipe", "inputs"))
    if fields[0] == fields[1]:
        return True
    share_roles = roles[0] & roles[1] or not roles[0] | roles[1]
    return bool(fields[0] & fields[1] and share_roles)


def _describe_artefact(con: DuckDBPyConnection, record: Mapping[str, Any]) -> str:
    """Describe an artefact by its stage, fingerprint and kind."""
    of = [str(record["recipe"][kind]) for kind in find_stage(con, record["stage"]).kinds if record["recipe"].get(kind)]
    return f"{record['stage']} {record['fingerprint']}" + (f" ({', '.join(of)})" if of else "")


def _find_subject(con: DuckDBPyConnection, role: str, *fingerprints: str | None) -> str:
    """Return the word on pages for the thing in a role: as its stage declares it, or else the role's own name.

    The two artefacts that are compared have no role.
    """
    for fingerprint in reversed(fingerprints):
        if fingerprint and (record := find_artefact(con, fingerprint)):
            made_by = find_stage(con, record["stage"])
            if role in (made_by.name, *made_by.roles):
                return made_by.subject
    return find_stage(con, role).subject or "thing"


def _read_inputs(con: DuckDBPyConnection, record: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the inputs of an artefact by role; an empty role gets the fallback that its stage declares."""
    inputs = record["inputs"]
    fallbacks = find_stage(con, record["stage"]).fallbacks
    return {role: inputs[other] for role, other in fallbacks.items() if other in inputs} | inputs


def _find_input_causes(
    con: DuckDBPyConnection, role: str, before: str | None, now: str | None, *, seen: set[tuple[str, str]]
) -> Iterator[Change]:
    if before is None or now is None:
        record = find_artefact(con, str(before or now))
        essential = find_stage(con, record["stage"] if record else role).essential
        yield Change(_find_subject(con, role, before, now), role, before or "none", now or "none", extent=not essential)
    else:
        yield from _find_causes(con, role, before, now, seen=seen)


def _find_own_causes(con: DuckDBPyConnection, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the artefact's own causes: differences in version, libraries and recipe, apart from its inputs."""
    declared = find_stage(con, new["stage"])
    stage, beside = declared.name, declared.beside
    if old["version"] != new["version"]:
        yield Change(
            f"how {declared.subject} works",
            stage,
            f"version {old['version']}",
            f"version {new['version']}",
            extent=beside,
        )
    for library, before, now in _list_differing(old["libraries"] or {}, new["libraries"] or {}):
        yield Change(f"library {library}", stage, before, now, extent=beside)
    recipes = [
        {name: each for name, each in (record["recipe"] or {}).items() if name != "libraries"} for record in (old, new)
    ]
    for name, *values in differing_fields(*recipes):
        before, now = _shorten_both(*values)
        named = f"{declared.subject}: {name}"
        subject = named if beside else FIELDS.get(name.split(".")[-1], named)
        yield Change(subject, stage, before, now, extent=beside or name in declared.extent)


def _list_differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, *_shorten_both(old.get(name), new.get(name))


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two recipes differ: path, value before, value now.

    A field that one side lacks did not exist when that side was made, which means that it was off. So if the other side
    has it switched off too (null, false, zero, empty), this is not a difference.
    """
    flat_old, flat_new = flatten_fields(old), flatten_fields(new)
    for name in sorted(flat_old.keys() | flat_new.keys()):
        before, now = flat_old.get(name), flat_new.get(name)
        is_new = name not in flat_old or name not in flat_new
        if before != now and not (is_new and not (before or now)):
            yield name, before, now


def _shorten_both(before: object, now: object) -> tuple[str, str]:
    """Shorten two different values so that they stay different: long paths may differ in their ends alone."""
    short = _shorten(before), _shorten(now)
    if short[0] != short[1]:
        return short
    whole = _write(before), _write(now)
    ends = tuple(text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}" for text in whole)
    return (ends[0], ends[1]) if ends[0] != ends[1] else whole


def _write(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shorten(value: object) -> str:
    text = _write(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text[:12]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def flatten_fields(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Map the path of each plain value of a recipe to the value as JSON has it (a tuple becomes a list)."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_fields(value, f"{under}{name}.")
        else:
            flat[f"{under}{name}"] = json.loads(json.dumps(value))
    return flat
