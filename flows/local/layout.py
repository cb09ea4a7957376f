"""The layout of a local Prefect: its folders and addresses, its processes' environment, and the note of what runs.

Imports neither Prefect nor Ray, so that Prefect's plugin finds the address quickly.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

HOST = "127.0.0.1"
DEFAULT_PORT = 4200
POOL = "comem"
MARK = "COMEM_LOCAL"
"""The variable of every process that we start, and of its children; its value is the project's folder."""


@dataclass(frozen=True)
class Process:
    """A process, identified by id and start time, because the system reuses ids."""

    pid: int
    started: float

    @classmethod
    def find_current(cls) -> "Process":
        return cls(os.getpid(), psutil.Process().create_time())

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@dataclass
class Note:
    """What is running. `users` are the demos that need it; `keep` means that serve wants it to stay."""

    port: int
    server: Process
    worker: Process | None = None
    keep: bool = False
    users: list[Process] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Layout:
    """The folders of one project's local Prefect, below `<root>/.comem`."""

    root: Path

    @classmethod
    def find(cls) -> "Layout":
        """Take the project's folder from COMEM_ROOT, or else the current folder.

        Raises ValueError for a folder without prefect.yaml, or if the variable is set to nothing.
        """
        named = os.environ.get("COMEM_ROOT")
        if named is not None and not named.strip():
            raise ValueError("COMEM_ROOT is set to nothing; give it a value, or unset it")
        root = Path(named or Path.cwd()).absolute()
        if not (root / "prefect.yaml").exists():
            raise ValueError(f"{root} has no prefect.yaml; run this in the project's folder, or set COMEM_ROOT to it")
        return cls(root)

    @property
    def home(self) -> Path:
        return self.root / ".comem" / "prefect"

    @property
    def logs(self) -> Path:
        return self.root / ".comem" / "logs"

    @property
    def note_path(self) -> Path:
        return self.home / "local.json"

    @property
    def lock_path(self) -> Path:
        return self.home / "local.lock"

    def read_note(self) -> Note | None:
        """Read what is running; None if there is no note, or the noted server has ended."""
        try:
            values = json.loads(self.note_path.read_text())
        except (OSError, ValueError):
            return None
        worker = values.pop("worker")
        note = Note(
            port=values["port"],
            server=Process(**values["server"]),
            worker=Process(**worker) if worker else None,
            keep=values["keep"],
            users=[user for each in values["users"] if (user := Process(**each)).is_alive()],
        )
        return note if note.server.is_alive() else None

    def write_note(self, note: Note) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        hidden = self.note_path.with_suffix(".tmp")
        hidden.write_text(json.dumps(asdict(note)))
        hidden.replace(self.note_path)

    def build_environment(self, base: Mapping[str, str], api_url: str | None) -> dict[str, str]:
        """Return the environment of our processes: a private Prefect, no telemetry, no downloads."""
        own = {name: value for name, value in base.items() if not name.startswith("PREFECT_")}
        own |= {name: value for name, value in base.items() if name.startswith("PREFECT_LOGGING_")}
        own |= {
            MARK: str(self.root),
            "COMEM_ROOT": str(self.root),
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "5",
            "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "HF_HUB_OFFLINE": base.get("HF_HUB_OFFLINE", "1"),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONDONTWRITEBYTECODE": "",  # without compiled files, every start takes many seconds longer
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        if api_url:
            own["PREFECT_API_URL"] = api_url
        return own
