"""Every number in a table or a plot of the README or of docs/ is the one in the file that a command wrote."""

import json
import re
from pathlib import Path

import pytest

from comem_core.measures.plots import PLOTS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = re.compile(r"<!-- results: (\w+) -->\n((?:\|.*\n)+)")
COLUMNS = ("value", "low", "high", "n", "unit")
KEYS = {"measure", "recipe", "value", "low", "high", "unit", "n", "seeds", "command", "commit", "machine"}


def _tables() -> list[tuple[str, str, dict[str, str]]]:
    """List (page, topic, row) of every row under a results mark; a row maps column headings to cells."""
    found = []
    for page in PAGES:
        for topic, table in MARK.findall(page.read_text(encoding="utf-8")):
            lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
            found += [(page.name, topic, dict(zip(lines[0], cells, strict=True))) for cells in lines[2:]]
    return found


def test_there_are_results_tables_to_check() -> None:
    assert "demo" in {topic for _, topic, _ in _tables()}


@pytest.mark.parametrize(("page", "topic", "row"), _tables())
def test_a_row_of_a_table_is_what_was_measured(page: str, topic: str, row: dict[str, str]) -> None:
    measured = {each["measure"]: each for each in json.loads((ROOT / f"docs/results/{topic}.json").read_text())}
    name = row["measure"].strip("`")
    assert name in measured, f"{page}: {name} is not in docs/results/{topic}.json"
    for column in COLUMNS:
        if row.get(column):
            expected = measured[name][column]
            shown = row[column] if column == "unit" else float(row[column])
            assert shown == expected, f"{page}: {name} {column} is {shown}, measured {expected}"


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_result_says_how_it_was_measured(path: Path) -> None:
    for row in json.loads(path.read_text()):
        assert set(row) == KEYS
        assert row["command"] and row["machine"]


def test_a_plot_is_drawn_from_what_was_measured() -> None:
    results = ROOT / "docs" / "results" / "countries_vqa.json"
    measured = {row["measure"]: row for row in json.loads(results.read_text())} if results.is_file() else {}
    for plot in PLOTS:
        drawn = ROOT / "docs" / "plots" / f"{plot.name}.svg"
        if drawn.is_file():
            assert plot.missing(measured) == []
            again = f"{drawn.name} shows other numbers; draw it with `python -m comem_core.measures.plots`"
            assert plot.drawn_from(measured) in drawn.read_text(encoding="utf-8"), again
