"""A run is killed at random moments and started again until it ends well; what it left is checked."""

import os
import random
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from flows.faults.__main__ import main
from flows.faults.journal import Journal, Round
from flows.faults.killing import FLOW, Killing
from flows.faults.stand import Attempt, Stand
from flows.local.layout import Note
from tasks.engine.context import Context
from tests.tasks.engine.small_run import make_context

SMALL = """
import sys, time
from pathlib import Path
from tasks.run import hold_run
from tests.tasks.engine import small_run
from warehouse.connection import open_warehouse
from warehouse.history import finish_killed

make = small_run._make_work
def make_slow(done):
    work = make(done)
    return lambda units: (time.sleep(0.3), work(units))[1]
small_run._make_work = make_slow
context = small_run.make_context(Path(sys.argv[1]))
with hold_run(context, sys.argv[3]) as killed:
    small_run.run_small(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    with open_warehouse(context.warehouse) as con:
        finish_killed(con, killed)
"""


class SmallStand(Stand):
    """Runs of three stages without Ray, on no server."""

    @property
    def context(self) -> Context:
        return make_context(self.folder / "run")

    def read_note(self) -> Note:
        return Note(port=0, server=None)

    def start(self, number: int, *, api_url: str, **settings: str) -> Attempt:
        run_id = f"run-{len(os.listdir(self.folder))}-{random.random()}"
        command = [sys.executable, "-c", SMALL, str(self.folder / "run"), str(self.folder / "done.txt"), run_id]
        return Attempt(subprocess.Popen(command, start_new_session=True))


def kill_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Round:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    chance = random.Random(3)
    return Killing(stand=SmallStand(folder), number=0, chance=chance, duration=3.0, planned=2).run()


def test_a_run_that_is_killed_ends_well_and_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = kill_small(tmp_path, monkeypatch)
    assert ended.wrong == []
    assert {target for target, *_ in ended.killed} == {FLOW} and ended.starts == 1 + len(ended.killed)


def test_what_a_fault_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "store" / "drafts" / "0123456789abcdef").mkdir(parents=True)
    assert "drafts 0123456789abcdef has its final name without a record" in kill_small(tmp_path, monkeypatch).wrong


def test_a_journal_is_gone_on_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (journal.next_number, journal.find_duration()) == (0, None)
    journal.add(Round(fault="unbroken", numbers=[0], seconds=20.0))
    assert journal.next_number == 0
    journal.add(Round(fault="kills", numbers=[1], killed=[("flow", 1.0, ["drafts"]), ("raylet", 2.0, [])]))
    again = Journal(tmp_path)
    assert again.rounds[1].numbers == [1] and again.next_number == 2 and again.find_duration() == 20.0
    assert again.count_kills() == {"flow": 1, "raylet": 1}


@pytest.mark.slow
@pytest.mark.parametrize("what", [["--kills", "4"], ["--only", "flipped_bytes"], ["--only", "lost_warehouse"]])
def test_faults_leave_nothing_wrong(
    tmp_path: Path, what: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    assert main(["--folder", str(tmp_path / "stand"), *what]) == 0, capfd.readouterr().out


def test_two_commands_do_not_try_faults_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with filelock.FileLock(tmp_path / "faults.lock"):
        assert main(["--folder", str(tmp_path)]) == 2
    assert f"another make faults works in {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "journal.jsonl").exists()
