"""The table of the page has a row for each measure, and a sentence about it."""

from pathlib import Path

from comem_core.measures.results import RESULTS, write_results
from comem_core.measures.tables import refresh_tables
from flows.faults.__main__ import make_rows
from flows.faults.journal import Journal, Round
from flows.faults.page import PAGE, TOPIC, describe_measure, write_table
from flows.faults.single import FAULTS


def test_the_table_has_what_was_measured_and_is_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(Round(fault="kills", numbers=[0], killed=[("raylet", 1.0, ["drafts"])], starts=2))
    for number, fault in enumerate(FAULTS, start=1):
        journal.add(Round(fault=fault, numbers=[number], wrong=["something"]))
    rows = list(make_rows(journal))
    (tmp_path / PAGE).parent.mkdir()
    (tmp_path / PAGE).write_text(f"before\n\n<!-- results: {TOPIC} -->\n| old |\n\nafter\n")
    write_results(TOPIC, rows, folder=tmp_path / RESULTS)
    text = write_table(tmp_path).read_text()
    assert text.startswith("before\n\n") and text.endswith("\n\nafter\n") and "| old |" not in text
    assert "| `wrong_after_torn_shard` | 1 | found wrong | 1 | A run is killed, and half of the newest" in text
    assert all(f"| `{row.measure}` | {row.value} |" in text for row in rows)
    assert write_table(tmp_path).read_text() == text and refresh_tables(TOPIC, root=tmp_path) == []


def test_every_fault_says_what_is_done() -> None:
    assert all(len(describe_measure(f"wrong_after_{fault}").split()) > 5 for fault in FAULTS)
