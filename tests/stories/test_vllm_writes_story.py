"""The real vLLM writes a run's data on a CPU: the same drafts each time, after kill -9 too, and no process is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from prefect.settings import get_current_settings

from warehouse.comparison import compare_stores

PYTHON = os.environ.get("TEST_VLLM_PYTHON")
WAIT_SECONDS = 1500
STORY = """
import sys
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.questions import pose_questions
from tasks.data.retrieve import retrieve
from tasks.data.synthesize import judge_qa, synthesize_qa
from tasks.run import open_run
from flows.options import Writing
from flows.recipes import recipe_to_train
from prefect import flow

@flow
def write(plan: bool):
    nothing = dict.fromkeys(("backbone", "variant", "seed", "knowledge", "judge", "reader", "start"))
    recipe = recipe_to_train("tiny_cpu", writing=Writing(generator="vllm", ask_about=0), limit=24, **nothing)
    with open_run("write", recipe, needs_generator=True, plan=plan) as run:
        knowledge = ingest_knowledge(run)
        index = build_index(run, knowledge)
        questions = pose_questions(run, knowledge)
        retrieved = retrieve(run, index, questions)
        drafts = synthesize_qa(run, knowledge, questions, retrieved)
        judge_qa(run, knowledge, questions, retrieved, drafts)

write("plan" in sys.argv)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TEST_VLLM_PYTHON names no Python with vLLM (docs/vllm.md)"),
    pytest.mark.usefixtures("prefect_server"),
]


def start(root: Path, *arguments: str, num_actors: int = 1) -> subprocess.Popen[bytes]:
    root.mkdir(exist_ok=True)
    place = {
        "COMEM_ROOT": str(root),
        "COMEM_ROWS_PER_SHARD": "8",
        "COMEM_BATCH_SIZE": "4",
        "COMEM_SERVED_CONCURRENCY": "2",
        "COMEM_NUM_ACTORS": str(num_actors),
        "COMEM_VLLM_PYTHON": str(PYTHON),
        "STORY": str(root),  # by which its engines are known, which inherit it
        "RAY_worker_niceness": "0",  # else the engines start last of all that this machine does
        "PREFECT_API_URL": str(get_current_settings().api.url),
    }
    with (root / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", STORY, *arguments],
            env=os.environ | place,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def read_log(root: Path) -> str:
    return (root / "log.txt").read_text(encoding="utf-8", errors="replace")


def list_servers(root: Path) -> list[psutil.Process]:
    """List vLLM's servers of a run."""
    command, found = [PYTHON, "-m", "vllm.entrypoints.openai.api_server"], []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess):
            is_one = (process.info["cmdline"] or [])[:3] == command
            found += [process] if is_one and process.environ().get("STORY") == str(root) else []
    return found


def list_engines(root: Path) -> list[psutil.Process]:
    """List vLLM's servers of a run and what they started, such as the processes that hold the model."""
    return [each for server in list_servers(root) for each in (server, *server.children(recursive=True))]


def wait_until(done: Callable[[], object], root: Path, seconds: float = WAIT_SECONDS) -> None:
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds, read_log(root)[-3000:]
        time.sleep(0.2)


def list_batches(root: Path) -> list[Path]:
    """List the shards and batches of drafts that are finished, of a store that another process writes."""
    return [*(root / ".comem" / "store").glob("**/drafts/**/*.parquet")]


def compare(root: Path, other: Path) -> list[tuple[str, bool]]:
    stores = (each / ".comem" / "store" for each in (root, other))
    return [(each.stage, each.same) for each in compare_stores(*stores) if each.stage in ("drafts", "verdicts")]


def test_killed_engines_change_no_draft_and_a_reused_stage_starts_none(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert start(unbroken).wait(WAIT_SECONDS) == 0, read_log(unbroken)[-3000:]
    assert read_log(unbroken).count("engines start for tiny") == 1  # they stay to judge
    assert list_servers(unbroken) == []

    for arguments in (("plan",), ()):
        assert start(unbroken, *arguments).wait(WAIT_SECONDS) == 0
    assert read_log(unbroken).count("engines start for tiny") == 1

    story = start(broken, num_actors=2)
    wait_until(lambda: list_batches(broken) or story.poll() is not None, broken)
    kept = {path: path.stat().st_mtime_ns for path in list_batches(broken)}
    first, _ = list_servers(broken)
    first.kill()
    assert story.wait(WAIT_SECONDS) == 0, read_log(broken)[-3000:]
    log = read_log(broken)
    assert log.count("2 engines start for tiny") == 2 and "Start 2 of 3 follows" in log
    shards = {path.name: path for path in list_batches(broken)}
    for path, written in kept.items():
        assert path.name not in shards or shards[path.name].stat().st_mtime_ns == written
    assert compare(unbroken, broken) == [("drafts", True), ("verdicts", True)]
    assert list_servers(broken) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])  # as Prefect cancels a run; and kill -9
def test_a_run_that_ends_early_leaves_no_process(tmp_path: Path, ending: signal.Signals) -> None:
    story = start(tmp_path / "ended", num_actors=2)
    wait_until(lambda: len(list_engines(tmp_path / "ended")) >= 4, tmp_path / "ended")
    engines = list_engines(tmp_path / "ended")
    os.killpg(story.pid, ending)
    story.wait(WAIT_SECONDS)
    psutil.wait_procs(engines, timeout=60)
    assert [each for each in engines if each.is_running()] == []
    assert list_servers(tmp_path / "ended") == []
