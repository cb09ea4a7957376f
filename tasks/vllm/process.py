"""One engine: vLLM's server as a process beside a worker, healthy before it is used, and gone when the worker is.

Runs in a Ray actor, and imports neither Ray nor Prefect.
"""

import http
import http.client
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.finding import find_backbone_folder
from comem_core.serving.vllm.installed import find_vllm_version, make_engine_command, make_environment
from tasks.vllm import watch

START_SECONDS, END_SECONDS, POLL_SECONDS = 1800.0, 30.0, 0.5
LAST_LINES, LAST_CHARACTERS = 25, 3000  # of the log of an engine that died

WITHOUT_GPU = "\nThe engine had no GPU, since COMEM_GPUS_PER_ACTOR is 0; that needs vLLM's build for CPUs"


class EngineFailed(RuntimeError):
    """vLLM's server ended while it started. The message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class EngineOrder:
    """What an engine serves, and with what: `model` is a name that is looked up on the engine's own node. `python` None
    is the worker's own interpreter; `version` is the vLLM that is expected there."""

    model: str
    name: str
    dtype: str
    num_images: int
    version: str
    python: str | None = None
    further: tuple[str, ...] = ()
    cpus: float = 1
    gpus: float = 0


class EngineProcess:
    """The engine of one actor."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.held: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, order: EngineOrder, key: str, host: str) -> str:
        """Start the server, wait until it is healthy, and return its address up to /v1.

        Raises:
            ValueError: the interpreter has no vLLM or another version, or the model is not on this node.
            EngineFailed: the server ended before it was healthy, or was not healthy within START_SECONDS.
        """
        python, where = order.python or sys.executable, socket.gethostname()
        if (found := find_vllm_version(python)) != order.version:
            raise ValueError(
                f"node {where}: {python} has vLLM {found}; expected {order.version}, as on the machine of the run"
            )
        port, started = find_free_port(host), time.monotonic()
        command = make_engine_command(
            python,
            find_backbone_folder(order.model).absolute(),
            name=order.name,
            dtype=order.dtype,
            host=host,
            port=port,
            num_images=order.num_images,
            gpus=order.gpus,
            further=order.further,
        )
        threads = None if order.gpus else max(1, int(order.cpus))
        self._run(command, make_environment({"VLLM_API_KEY": key}, threads=threads))
        while not is_healthy(host, port):
            late = time.monotonic() - started > START_SECONDS
            if late or self.has_ended():
                what = f"is not ready after {START_SECONDS:.0f} s" if late else "ended while it started"
                cpu = "" if order.gpus else WITHOUT_GPU
                raise EngineFailed(f"vLLM {found} on node {where} {what}; {self._read_end()}{cpu}")
            time.sleep(POLL_SECONDS)
        self.url = f"http://{host}:{port}/v1"
        return self.url

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="comem-vllm-"))
        starter = [sys.executable, "-I", watch.__file__, str(self.folder), *command]
        self.held = subprocess.Popen(starter, stdin=subprocess.PIPE, env=environment, close_fds=True)
        self.held.wait()  # only until it has left this process

    def has_ended(self) -> bool:
        """Tell whether the server has ended, or was never started."""
        return self.folder is None or (self.folder / "exit").exists()

    def find_url(self) -> str:
        """Return the address of a server that runs. Raises EngineFailed with the end of its log if it has ended."""
        if self.folder is None:
            raise EngineFailed("vLLM was ended")
        if self.has_ended():
            raise EngineFailed(f"vLLM has ended on node {socket.gethostname()}; {self._read_end()}")
        return self.url

    def rest(self, forget: Callable[[], None] | None = None) -> None:
        """End the server, and return when its processes are gone, so that their GPUs are free."""
        if self.folder is None or self.held is None:
            return
        assert self.held.stdin is not None
        self.held.stdin.close()
        started = time.monotonic()
        while self.folder.exists() and time.monotonic() - started < END_SECONDS:
            time.sleep(POLL_SECONDS / 5)
        self.folder = self.held = None

    def _read_end(self) -> str:
        assert self.folder is not None
        log = self.folder / "log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines = [line for line in text.splitlines() if line.strip()][-LAST_LINES:]
        return "the end of its log:\n" + "\n".join(lines)[-LAST_CHARACTERS:]


def find_free_port(host: str) -> int:
    """Return a port of this node that is free now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.bind((host, 0))
        return held.getsockname()[1]


def is_healthy(host: str, port: int) -> bool:
    """Tell whether a server answers its health check."""
    asked = http.client.HTTPConnection(host, port, timeout=5)
    try:
        asked.request("GET", "/health")
        return asked.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()
