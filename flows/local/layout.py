"""The layout of a local Prefect: its folders and addresses, its processes' environment, and the note of what runs.

Imports neither Prefect nor Ray, so that Prefect's plugin finds the address quickly. A user's own server takes the
local one's place where PREFECT_API_URL, or the active profile, names it.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"
DEFAULT_PORT = 4200
POOL = "comem"
"""The work pool, unless COMEM_WORK_POOL names another one."""
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
    """What is running. `users` are the demos that need it; `keep` means that serve wants it to stay.

    `url` is the API's address of a user's own server; then `server` is None, for no process of ours is one.
    """

    port: int
    server: Process | None
    worker: Process | None = None
    pages: Process | None = None
    pages_port: int | None = None
    keep: bool = False
    users: list[Process] = field(default_factory=list)
    url: str | None = None
    page: str | None = None

    @property
    def api_url(self) -> str:
        return self.url or f"http://{HOST}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        return self.page or f"http://{HOST}:{self.port}"

    @property
    def pages_url(self) -> str | None:
        """The address of the store's pages on this machine; None if they are not served."""
        return f"http://{HOST}:{self.pages_port}" if self.pages_port else None

    @property
    def whose(self) -> str:
        """Says whose server it is."""
        return "your Prefect server" if self.url else "the Prefect server"

    def is_up(self) -> bool:
        """Tell whether the server's process is there; a user's own server is not ours to look at."""
        return self.url is not None or (self.server is not None and self.server.is_alive())


def find_asked_server(root: Path, environ: Mapping[str, str]) -> str | None:
    """Return the API's address of the user's own server, as Prefect itself looks for it: the variable PREFECT_API_URL,
    the project's prefect.toml, or the active profile.

    Raises ValueError for a file that is not TOML.
    """
    home = Path(environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = _read_toml(Path(environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml"))
    active = environ.get("PREFECT_PROFILE") or profiles.get("active")
    profile = profiles.get("profiles", {}).get(active, {})
    found = (
        environ.get("PREFECT_API_URL")
        or _read_toml(root / "prefect.toml").get("api", {}).get("url")
        or profile.get("PREFECT_API_URL")
    )
    return found.rstrip("/") if found else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} cannot be read: {error}. Mend the file") from error


@dataclass(frozen=True)
class Layout:
    """The folders of one project's local Prefect, below `<root>/.comem`."""

    root: Path
    asked: str | None = None
    """The API's address of the user's own server; None: a local server of this folder."""

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

    def read_note(self, *, even_ended: bool = False) -> Note | None:
        """Read what is running; None if there is no note, or the noted server has ended (unless `even_ended`)."""
        try:
            values = json.loads(self.note_path.read_text())
        except (OSError, ValueError):
            return None
        named = ("server", "worker", "pages")
        processes = {name: Process(**each) if (each := values.pop(name, None)) else None for name in named}
        users = [user for each in values.pop("users") if (user := Process(**each)).is_alive()]
        note = Note(**processes, users=users, **values)
        return note if note.is_up() or even_ended else None

    def write_note(self, note: Note) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        hidden = self.note_path.with_suffix(".tmp")
        hidden.write_text(json.dumps(asdict(note)))
        hidden.replace(self.note_path)

    def build_environment(self, base: Mapping[str, str], api_url: str | None) -> dict[str, str]:
        """Return the environment of our processes: no telemetry, no downloads, and a private Prefect unless the user's
        own server is used; then with all of the user's Prefect settings."""
        kept = "PREFECT_" if self.asked else "PREFECT_LOGGING_"
        own = {name: value for name, value in base.items() if not name.startswith("PREFECT_") or name.startswith(kept)}
        if not self.asked:
            own |= {"PREFECT_HOME": str(self.home), "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml")}
        own |= {
            MARK: str(self.root),
            "COMEM_ROOT": str(self.root),
            "COMEM_WORK_POOL": base.get("COMEM_WORK_POOL", POOL),
            "COMEM_PROJECT": base.get("COMEM_PROJECT", str(self.root)),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "5",
            "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "PREFECT_CLIENT_MAX_RETRIES": "8",  # a run waits eight minutes for a server that is gone to take its end
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
