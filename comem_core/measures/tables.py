"""Tables of measured numbers in the pages: a table after `<!-- results: TOPIC -->` quotes `docs/results/TOPIC.json`.

The page decides which measures a table shows, and describes them; the numbers are filled in from the file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comem_core.measures.results import RESULTS, Measured, read_results, write_results

MARK = re.compile(r"(<!-- results: (\w+) -->\n)((?:\|.*\n)+)")
NUMBERS = ("value", "low", "high", "n", "unit")


def describe_rows(rows: Sequence[Measured]) -> list[str]:
    """Return a line for each row, in columns: measure, value, unit, interval and n."""
    width = max((len(row.measure) for row in rows), default=0)
    intervals = ("" if row.low is None else f"({row.low} to {row.high})" for row in rows)
    return [
        f"{row.measure:>{width}}  {row.value:7.2f} {row.unit:<7} {interval:<18} n {row.n}"
        for row, interval in zip(rows, intervals, strict=True)
    ]


def record_rows(topic: str, rows: Sequence[Measured]) -> None:
    """Replace a topic's stored rows of the same measures, refresh the pages that quote them, and print the paths."""
    for path in (write_results(topic, rows), *refresh_tables(topic)):
        print(f"written: {path}", flush=True)


def refresh_tables(topic: str, *, root: Path = Path()) -> list[Path]:
    """Put a topic's numbers into the tables of the README and docs that quote them; return the pages that changed.

    The row of a measure that is not in the file stays as it is; a test in `tests/layering` refuses it.
    """
    measured = {row["measure"]: row for row in read_results(root / RESULTS / f"{topic}.json")}
    changed = []
    for page in (*root.glob("README.md"), *sorted((root / "docs").glob("*.md"))):
        before = page.read_text(encoding="utf-8")
        after = MARK.sub(lambda found: _refresh_table(found, topic, measured), before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            changed.append(page)
    return changed


def _refresh_table(found: re.Match[str], topic: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    mark, of_topic, table = found.groups()
    if of_topic != topic:
        return found.group()
    heading, rule, *lines = table.splitlines()
    columns = _split_cells(heading)
    rows = [dict(zip(columns, _split_cells(line), strict=True)) for line in lines]
    new = [row | _format_numbers(columns, measured.get(row["measure"].strip("`"), {})) for row in rows]
    return mark + "".join(f"{line}\n" for line in (heading, rule, *(_join_cells(row.values()) for row in new)))


def _format_numbers(columns: Iterable[str], row: Mapping[str, Any]) -> dict[str, str]:
    shown = {name: row[name] for name in NUMBERS if name in columns and name in row}
    return {name: "" if value is None else str(value) for name, value in shown.items()}


def _split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _join_cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
