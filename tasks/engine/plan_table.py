"""Shows a plan on a terminal of any width, and in the Prefect UI: the numbers as a table, the reasons as sentences."""

import re
from collections.abc import Mapping, Sequence

from tasks.engine.plan import Plan

NUMBERS = ("stage", "do", "rows", "to make", "tokens", "hours", "GB")
HASH = r"[0-9a-f]{12,64}"
CHANGED = re.compile(rf"changed from {HASH} to {HASH}")
NAMED = re.compile(rf" (?:of )?{HASH}\b")
TITLE = "What this run would do"


def write_plan(plan: Plan) -> None:
    """Print a plan as wide as the terminal is; under Prefect, also make a table of it."""
    from prefect.artifacts import create_table_artifact
    from prefect.context import FlowRunContext
    from rich.console import Console
    from rich.table import Table

    console, lines = Console(), plan.list_lines()
    for note in plan.notes:
        console.print(note, markup=False, highlight=False)
    table = Table(title=TITLE, title_justify="left")
    for name in NUMBERS:
        table.add_column(name, justify="left" if name in NUMBERS[:2] else "right", overflow="fold")
    for line in lines:
        table.add_row(*(line[name] for name in NUMBERS))
    console.print(table)
    for said in describe_reasons(lines):
        console.print(said, markup=False, highlight=False)
    if FlowRunContext.get() is not None:
        create_table_artifact(lines, key="plan", description=TITLE)


def describe_reasons(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Return why the stages of a plan are made or reused, and what their cost is estimated from, without fingerprints.

    Stages with the same reason share a sentence.
    """
    stages: dict[str, list[str]] = {}
    for line in lines:
        estimated = f" (estimated from {line['estimated from']})" if line["estimated from"] else ""
        if said := drop_hashes(line["why"] + estimated):
            stages.setdefault(said, []).append(line["stage"])
    return [f"{', '.join(dict.fromkeys(names))}: {said}" for said, names in stages.items()]


def drop_hashes(text: str) -> str:
    """Write a reason without fingerprints: what changed is named, and that it is another one."""
    return NAMED.sub("", CHANGED.sub("is another one", text))
