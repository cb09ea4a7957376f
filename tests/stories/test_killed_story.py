"""A run that is killed with kill -9 ten times, at moments that chance decides, ends with an unbroken one's rows."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from warehouse.comparison import STAGES_OF_A_RUN, compare_stores

NUM_KILLS = 10
STORY = """
import sys
from flows.options import Knowledge, Writing
from flows.synth_and_train import synth_and_train
knowledge = Knowledge(corpus=sys.argv[1], licence="ODbL-1.0")
synth_and_train(knowledge=knowledge, writing=Writing(ask_about=12), limit=8)
"""


def _start(root: Path, corpus: Path) -> subprocess.Popen:
    root.mkdir(exist_ok=True)
    place = {"COMEM_ROOT": str(root), "COMEM_ROWS_PER_SHARD": "16", "COMEM_BATCH_SIZE": "4"}
    api = {"PREFECT_API_URL": str(get_current_settings().api.url)}
    with (root / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", STORY, str(corpus)],
            env=os.environ | place | api,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for_new_files(process: subprocess.Popen, store: Path, count: int) -> None:
    """Wait until the run has written so many shards and batches more than were there."""
    before = _files_in(store)
    while len(_files_in(store) - before) < count and process.poll() is None:
        time.sleep(0.02)


def _files_in(store: Path) -> set[str]:
    """The shards and batches of a store that another process writes; a folder may go while it is listed."""
    walked = os.walk(store)  # which passes over what it cannot list
    return {f"{folder}/{name}" for folder, _, names in walked for name in names if name.endswith(".parquet")}


@pytest.mark.slow
def test_ten_kills_at_random_change_no_row(tmp_path: Path, own_folder: Path, prefect_server: None) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert _start(unbroken, own_folder).wait() == 0

    chance = random.Random(0)
    for _ in range(NUM_KILLS):
        process = _start(broken, own_folder)
        _wait_for_new_files(process, broken / ".comem" / "store", chance.randint(1, 8))
        time.sleep(chance.uniform(0, 0.5))
        assert process.poll() is None, "the run ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert _start(broken, own_folder).wait() == 0, (broken / "log.txt").read_text()[-2000:]

    stores = (root / ".comem" / "store" for root in (unbroken, broken))
    compared = [each for each in compare_stores(*stores) if each.stage not in STAGES_OF_A_RUN]
    assert len(compared) >= 15
    assert [(each.stage, each.fingerprint) for each in compared if not each.same] == []
