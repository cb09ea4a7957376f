"""A training by two workers ends with the weights of an unbroken one, whichever of its processes is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

SCRIPT = Path(__file__).with_name("train_and_kill.py")
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
for _ in range(2):
    cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
NUM_STEPS = 20
Told = tuple[int, int, float]  # process, step, first number of the sample


def train(root: Path, what: str, *, address: str = "") -> subprocess.CompletedProcess[str]:
    place = {"COMEM_ROOT": str(root), "COMEM_NUM_ACTORS": "1", "COMEM_TRAIN_WORKERS": "2", "RAY_AUTH_MODE": "disabled"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(root), what],
        env=os.environ | place | ({"RAY_ADDRESS": address} if address else {}),
        capture_output=True,
        text=True,
        timeout=300,
    )


def read_told(root: Path, rank: int) -> list[Told]:
    return [tuple(json.loads(line)) for line in (root / f"steps-{rank}.jsonl").read_text().splitlines()]


def list_processes(address: str) -> list[str]:
    """List the processes that the nodes of a cluster have started, by their titles."""
    found = []
    for each in psutil.process_iter(["name", "cmdline"]):
        if each.info["name"] == "raylet" and f"--gcs-address={address}" in each.info["cmdline"]:
            found += [" ".join(child.cmdline()) for child in each.children()]
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unbroken")
    run = train(root, "nothing")
    assert run.returncode == 0, run.stderr[-3000:]
    return root


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of three nodes with one CPU each."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    holder = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        yield holder.stdout.readline().strip()
        holder.stdin.close()
        holder.wait(60)
    finally:
        for each in [*psutil.Process(holder.pid).children(recursive=True), holder] if holder.poll() is None else ():
            each.kill()


def check(root: Path, unbroken: Path, run: subprocess.CompletedProcess[str]) -> None:
    """Check that a run was killed, went on at a checkpoint, and gave what the unbroken run gave."""
    assert run.returncode == 0, run.stderr[-3000:]
    assert (root / "killed").exists()
    for rank in range(2):
        told, expected = read_told(root, rank), read_told(unbroken, rank)
        parts = [[step for _, step, _ in part] for _, part in groupby(told, key=lambda line: line[0])]
        assert len(parts) == 2 and all(part == list(range(part[0], part[-1] + 1)) for part in parts), parts
        assert parts[0][0] == 0 and 0 < parts[1][0] <= parts[0][-1] + 1 and parts[1][-1] == NUM_STEPS - 1, parts
        assert {each[1:] for each in told} == {each[1:] for each in expected}
    folders = [each / "encoder.partial" for each in (root, unbroken)]
    assert [sorted(path.name for path in each.iterdir()) for each in folders] == [["part-00000.parquet", "w.pt"]] * 2
    rows = [pq.read_table(each / "part-00000.parquet").drop_columns("seconds") for each in folders]
    assert rows[0]["step"].to_pylist() == list(range(1, NUM_STEPS + 1)) and rows[0] == rows[1]
    weights = [torch.load(each / "w.pt", weights_only=True) for each in folders]
    assert torch.equal(*weights)
    resources = json.loads((root / "resources.json").read_text())
    assert resources["free"] == resources["cpus"]


def check_ended(root: Path) -> None:
    """Check that no training worker lives on for more than some seconds."""
    workers, ended_by = {pid for rank in range(2) for pid, *_ in read_told(root, rank)}, time.monotonic() + 30
    while any(_is_alive(pid) for pid in workers):
        assert time.monotonic() < ended_by, workers
        time.sleep(0.2)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["worker", "controller"])
def test_a_training_whose_worker_or_controller_is_killed_goes_on(tmp_path: Path, unbroken: Path, what: str) -> None:
    run = train(tmp_path, what)
    check(tmp_path, unbroken, run)
    told = "training lost Ray Train's controller" in run.stderr and "goes on at the last checkpoint" in run.stderr
    assert told == (what == "controller")


@pytest.mark.slow
@pytest.mark.parametrize("where, is_torn", [("a local Ray", True), ("a cluster", False)])
def test_the_same_command_goes_on_after_its_process_is_killed(
    tmp_path: Path, unbroken: Path, where: str, is_torn: bool, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("cluster") if where == "a cluster" else ""
    assert train(tmp_path, "driver", address=address).returncode == -signal.SIGKILL
    check_ended(tmp_path)
    if is_torn:
        newest = max((tmp_path / "encoder.partial").glob(".checkpoint-*.pt"))
        newest.write_bytes(newest.read_bytes()[:1000])
    again = train(tmp_path, "driver", address=address)
    check(tmp_path, unbroken, again)
    check_ended(tmp_path)
    assert ("cannot be read" in again.stderr) == is_torn
    assert not any("PlacementGroupCleaner" in name for name in list_processes(address))


@pytest.mark.slow
def test_a_training_goes_on_where_a_node_is_left_when_its_own_is_killed(
    tmp_path: Path, unbroken: Path, cluster: str
) -> None:
    check(tmp_path, unbroken, train(tmp_path, "node", address=cluster))
    assert json.loads((tmp_path / "resources.json").read_text())["cpus"] == 2
