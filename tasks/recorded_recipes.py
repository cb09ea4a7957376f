"""The recipes of earlier runs: a run records what its own recipe stated, so that its file may move or change."""

import json
from typing import Any

from comem_core.recipes.files import RUN
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.sql import read_report_rows

STATED = "stated"
"""The field of a run's recorded recipe that holds what a recipe of the user's own stated, before other options."""


def find_recorded_recipe(context: Context, named: str) -> dict[str, Any] | None:
    """Return the fields of a recipe that a run here recorded, or None if no run has it.

    By a run's id (its first 8 letters or more) it is the recipe as that run had it, with its options; by a name, what
    the latest recipe file of this name stated, or else the recipe of the latest run of this name.
    """
    if not context.warehouse.exists():
        return None
    with open_warehouse(context.warehouse) as con:  # for writing, which brings that of an earlier version up to date
        rows = read_report_rows(con, "recorded_recipe", {"named": named})
    if not rows:
        return None
    recipe = json.loads(rows[0]["recipe"])
    stated = recipe.pop(STATED, None)
    return stated if stated is not None and not rows[0]["by_id"] else {RUN: rows[0]["run_id"]} | recipe
