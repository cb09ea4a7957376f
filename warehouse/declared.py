"""The stages and conditions as the running code declares them. Owns the tables stage and condition.

The warehouse has no built-in names of stages or conditions; the caller that records a run gives it these rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.connection import open_transaction

CONDITION_KEYS = ("name", "phrase", "meaning", "text_only")
STAGE_KEYS = ("name", "subject", "roles", "extent", "kinds", "fallbacks", "beside", "essential", "caption")


@dataclass(frozen=True, kw_only=True)
class DeclaredStage:
    """A row of the table stage; a stage that declared nothing has only its name."""

    name: str
    subject: str
    roles: Sequence[str] = ()
    extent: Sequence[str] = ()
    kinds: Sequence[str] = ()
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    beside: bool = False
    essential: bool = False
    caption: str = ""


def list_declared_stages(con: DuckDBPyConnection) -> list[str]:
    """List the names of all stages that a run declared."""
    return [name for (name,) in con.execute("SELECT name FROM stage ORDER BY name").fetchall()]


def declare_conditions(con: DuckDBPyConnection, conditions: Sequence[Mapping[str, Any]]) -> None:
    """Replace all conditions by these, which have `CONDITION_KEYS` and are in the order of a page."""
    with open_transaction(con):
        con.execute("DELETE FROM condition")
        for place, each in enumerate(conditions):
            values = [each[key] for key in CONDITION_KEYS]
            con.execute(
                f"INSERT INTO condition (place, {', '.join(CONDITION_KEYS)}) VALUES (?, ?, ?, ?, ?)", [place, *values]
            )


def declare_stages(con: DuckDBPyConnection, stages: Sequence[Mapping[str, Any]]) -> None:
    """Insert or replace the rows of these stages, which have `STAGE_KEYS`."""
    with open_transaction(con):
        for each in stages:
            values = [json.dumps(each[key]) if key == "fallbacks" else each[key] for key in STAGE_KEYS]
            marks = ", ".join("?" * len(STAGE_KEYS))
            con.execute(f"INSERT OR REPLACE INTO stage ({', '.join(STAGE_KEYS)}) VALUES ({marks})", values)


def find_stage(con: DuckDBPyConnection, name: str) -> DeclaredStage:
    """Return the declaration of a stage; a stage that declared nothing has its name as its subject."""
    row = con.execute(f"SELECT {', '.join(STAGE_KEYS)} FROM stage WHERE name = ?", [name]).fetchone()
    if row is None:
        return DeclaredStage(name=name, subject=name)
    values = dict(zip(STAGE_KEYS, row, strict=True))
    return DeclaredStage(**values | {"fallbacks": json.loads(values["fallbacks"])})


def read_conditions(con: DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the declared conditions in the order of a page."""
    rows = con.execute(f"SELECT {', '.join(CONDITION_KEYS)} FROM condition ORDER BY place").fetchall()
    return [dict(zip(CONDITION_KEYS, row, strict=True)) for row in rows]
