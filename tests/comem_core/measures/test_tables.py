"""Tables in the pages take their numbers from the files that commands wrote."""

from pathlib import Path

import pytest

from comem_core.measures.results import RESULTS, Measured, write_results
from comem_core.measures.tables import refresh_tables

PAGE = """# A page

<!-- results: fruit -->
| measure | value | low | high | said of it |
| --- | --- | --- | --- | --- |
| `pears` | 1.0 | 0.5 | 2.0 | green |
| `plums` | 9.0 |  |  | not measured |

<!-- results: other -->
| measure | value |
| --- | --- |
| `pears` | 7.0 |
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Nothing measured\n")
    (tmp_path / "docs" / "page.md").write_text(PAGE)
    return tmp_path


def measured(value: float, high: float | None) -> Measured:
    return Measured(measure="pears", recipe="tiny_cpu", value=value, low=0.25, high=high, unit="%", n=3, command="pick")


def test_a_tables_numbers_become_those_of_its_topic_and_the_rest_stays(root: Path):
    write_results("fruit", [measured(42.5, 50.0)], folder=root / RESULTS)
    assert refresh_tables("fruit", root=root) == [root / "docs" / "page.md"]
    lines = (root / "docs" / "page.md").read_text().splitlines()
    assert "| `pears` | 42.5 | 0.25 | 50.0 | green |" in lines
    assert "| `plums` | 9.0 |  |  | not measured |" in lines
    assert "| `pears` | 7.0 |" in lines
    assert refresh_tables("fruit", root=root) == []


def test_an_end_that_is_not_known_is_left_empty(root: Path):
    write_results("fruit", [measured(1.5, None)], folder=root / RESULTS)
    refresh_tables("fruit", root=root)
    assert "| `pears` | 1.5 | 0.25 |  | green |" in (root / "docs" / "page.md").read_text()
