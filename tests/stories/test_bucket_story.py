"""A cluster of two nodes that share nothing but a bucket: the folder of the first is empty on the second."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pytest

import comem_core as comem
from comem_core.addresses.places import find_store_cache
from tests.buckets import find_port

SCRIPT = """
from prefect.testing.utilities import prefect_test_harness

from flows.options import Writing
from flows.synth_and_train import synth_and_train

if __name__ == "__main__":
    with prefect_test_harness(server_startup_timeout=120):
        synth_and_train(limit=4, writing=Writing(ask_about=1))
"""
RAY = str(Path(sys.executable).with_name("ray"))


@contextlib.contextmanager
def start_node(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    node = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield node
    finally:
        for each in [*psutil.Process(node.pid).children(recursive=True), node]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGKILL)
        node.wait()


def wait_for_nodes(port: int, number: int) -> tuple[str, Path]:
    """Wait until a cluster has so many nodes, which had a moment to join; return its address and the folder of logs."""
    for _ in range(120):
        found = []
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "raylet":
                told = dict(each.split("=", 1) for each in process.info["cmdline"] or [] if "=" in each)
                if told.get("--gcs-address", "").endswith(f":{port}"):
                    found.append((told["--gcs-address"], Path(told["--raylet_socket_name"]).parents[1] / "logs"))
        if len(found) >= number:
            time.sleep(4)
            return found[0]
        time.sleep(0.5)
    raise AssertionError(f"fewer than {number} nodes")


@pytest.mark.slow
def test_two_nodes_that_share_nothing_but_a_bucket_make_and_train_together(
    bucket: str, bucket_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    hidden = f"mount -t tmpfs tmpfs {folder} && exec"
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"{hidden} true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a folder of its own")
    port, root = find_port(), Path(__file__).parents[2]
    plain = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # at 0, as tests have it, `ray start` refuses a second node
        "PYTHONPATH": str(root),
    }
    without_keys = {name: value for name, value in plain.items() if not name.startswith("AWS_")}
    environment = plain | {
        "COMEM_ROOT": str(folder),
        "COMEM_STORE": bucket,
        "COMEM_STORE_CACHE": str(folder / "cache"),
        "COMEM_NUM_ACTORS": "2",
        "COMEM_TRAIN_WORKERS": "2",
    }
    first = [RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    with start_node(first, without_keys):
        address, logs = wait_for_nodes(port, 1)
        environment["RAY_ADDRESS"] = address
        second = f"{hidden} {RAY} start --block --address={address} --num-cpus=1"
        with start_node(["unshare", "-rm", "sh", "-c", second], without_keys) as other:
            wait_for_nodes(port, 2)
            run = subprocess.run(
                [sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
            )
            assert run.returncode == 0, run.stderr[-6000:]
            monkeypatch.setenv("COMEM_STORE_CACHE", str(folder / "cache"))
            there = Path(f"/proc/{other.pid}/root{find_store_cache(bucket)}")
            found = sorted(path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file())
            assert any(name.startswith("knowledge/") for name in found), found
        said = [
            run.stdout,
            run.stderr,
            *(path.read_text(errors="replace") for path in logs.rglob("*") if path.is_file()),
        ]
    assert len(said) > 10 and not any(environment["AWS_SECRET_ACCESS_KEY"] in each for each in said)
    with duckdb.connect(str(folder / ".comem" / "warehouse.duckdb"), read_only=True) as con:
        places = {uri for (uri,) in con.execute("SELECT uri FROM artefact").fetchall()}
    assert places and all(uri.startswith(f"{bucket}/") for uri in places)
    shutil.rmtree(folder)
    monkeypatch.setenv("COMEM_STORE_CACHE", str(tmp_path / "elsewhere"))
    memory = comem.open(bucket)
    assert len(memory) > 100
