"""What all tests share: no network, one thread, and, when first asked for, one Prefect server and one small Ray."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from functools import partial as bind
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasks.engine.context import Context, RunRef

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # see tasks/__init__.py
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",  # as `make serve` has it
    "DO_NOT_TRACK": "1",
    "PREFECT_PLUGINS_ENABLED": "false",  # else a `make serve` in this folder would take the tests' flow runs
}


# At import: a conftest further down may import what reads its settings once.
for _name in list(os.environ):
    if _name.startswith(("COMEM_", "PREFECT_", "RAY_")) or _name == "PYTHONDONTWRITEBYTECODE":
        del os.environ[_name]
os.environ.update(ENVIRONMENT)
# A shell starts what it runs in the background with Ctrl-C ignored, and so would be the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which `make test` runs with three processes
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the stories to one process, the other files that need Ray or Prefect to another, and what is left to any.

    Those two start first, because they take longest, and each starts Ray and a Prefect server once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            if not _needs_ray(config.rootpath / file):
                return file
            return "stories" if file.startswith("tests/stories/") else "with Ray"

        def _assign_work_unit(self, node: Any) -> None:
            for scope in ("with Ray", "stories"):
                if scope in self.workqueue:
                    self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    return ByFile(config, log)


@cache
def _needs_ray(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    return "small_ray" in text or "prefect_server" in text


@pytest.fixture(scope="session")
def make_context() -> Callable[..., Context]:
    """Return a function (root, **changes) -> Context that asks for little and keeps all below `root`."""

    def make(root: Path, **changes: Any) -> Context:
        little = Context(
            root=root,
            store=root / "store",
            warehouse=root / "warehouse.duckdb",
            benchmarks=root / "benchmarks",
            num_actors=2,
            min_free_disk_mb=10,
            min_free_memory_mb=10,
        )
        return replace(little, **changes)

    return make


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def small_ray(tmp_path_factory: pytest.TempPathFactory, make_context: Callable[..., Context]) -> Iterator[None]:
    """A local Ray of four logical CPUs, as the product starts it."""
    from tasks.engine.on_ray import join_ray

    root = tmp_path_factory.mktemp("ray")
    with join_ray(make_context(root, num_actors=4)):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server process that serves the shipped tiny model (see serving.py)."""
    script, environment = (
        Path(__file__).with_name("serving.py"),
        os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.kill()  # at its end it would wait for the slow reply that a test did not wait for
    process.wait()


@pytest.fixture(scope="session")
def serve_folder() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder by the standard library's server, as a user's own web server would."""
    with contextlib.ExitStack() as servers:

        def serve(folder: Path) -> str:
            handler = bind(SimpleHTTPRequestHandler, directory=folder)
            server = servers.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[str]:
    """The address of an S3-compatible server, which forgets everything at the end of the session."""
    from tests.buckets import start_server

    for name in ("s3fs", "moto", "flask"):
        pytest.importorskip(name, reason="needs s3fs and moto[server]")
    with start_server() as url:
        yield url


@pytest.fixture
def bucket(bucket_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store in a bucket of its own, whose local copy is below tmp_path."""
    import s3fs

    from tests.buckets import KEYS

    for name, value in (KEYS | {"AWS_ENDPOINT_URL": bucket_server}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMEM_STORE_CACHE", str(tmp_path / "cache"))
    name = f"bucket-{uuid4().hex[:12]}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    yield f"s3://{name}/store"
    if os.environ.get("AWS_ENDPOINT_URL") != bucket_server:  # the test went another way, which s3fs would remember
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def context(tmp_path: Path, make_context: Callable[..., Context]) -> Context:
    return make_context(tmp_path)


@pytest.fixture
def run(context: Context) -> RunRef:
    return RunRef(run_id="run-1", recipe_name="test", context=context)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep torch, where it is installed, from taking every core."""
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
