"""Which tracker shows the steps of a training, the variables that it reads, and what it lacks before a run begins.

Needs neither torch nor a tracker's library. A tracker decides no result, so it is in no name of one.
"""

import netrc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

SETTING = "COMEM_TRACKER"
TrackerName = Literal["tensorboard", "mlflow", "wandb"]
PACKAGES: Mapping[TrackerName, str] = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny", "wandb": "wandb"}
"""The package to install for each tracker; its module has the tracker's name."""
PREFIXES: Mapping[TrackerName, str | None] = {"tensorboard": None, "mlflow": "MLFLOW_", "wandb": "WANDB_"}
"""How the names of the variables begin that each library reads itself."""
WITHOUT_KEY = ("offline", "dryrun")
DATABRICKS = ("databricks", "databricks-uc", "uc")
"""Addresses of MLflow that have no scheme and are not folders."""
KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
WANDB_HOST = "https://api.wandb.ai"


@dataclass(frozen=True, kw_only=True)
class TrackedTraining:
    """A training as a tracker shows it. One that a later run continues keeps the `run_id` of the run that began it.

    `folder` is for trackers that write files. `parameters` are the recipe's fields, nested.
    """

    tracker: TrackerName
    folder: Path
    stage: str
    fingerprint: str
    run_id: str
    recipe_name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name by which a user finds the way from the tracker to the store, the warehouse and Prefect."""
        return f"{self.stage}-{self.fingerprint}-{self.run_id}"

    @property
    def labels(self) -> dict[str, str]:
        """The parts of the name, by the words that the warehouse has for them."""
        named = {"stage": self.stage, "fingerprint": self.fingerprint, "run_id": self.run_id}
        return named | {"recipe_name": self.recipe_name}


def flatten(values: Mapping[str, Any], *, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values by their dotted names, such as `training.optimizer.learning_rate`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, before=f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def choose_variables(tracker: TrackerName | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the tracker's library reads itself; workers on other machines need them."""
    prefix = PREFIXES[tracker] if tracker else None
    return {name: value for name, value in environ.items() if prefix and name.startswith(prefix)}


def find_tracker_faults(tracker: TrackerName, environ: Mapping[str, str], *, on_cluster: bool = False) -> list[str]:
    """Find what keeps a tracker from showing a training, each fault with its remedy.

    On a cluster a worker may be on another machine, which has the variables of this process but not its key files.
    """
    if not is_installed(tracker):
        package = PACKAGES[tracker]
        return [
            f"{SETTING}={tracker} needs the package {package}, which is not installed here. Install it with "
            f"`.venv/bin/pip install -c constraints.txt {package}`, or unset {SETTING}"
        ]
    if tracker == "mlflow":
        return _find_mlflow_faults(environ)
    return _find_wandb_faults(environ, on_cluster) if tracker == "wandb" else []


def is_installed(tracker: TrackerName) -> bool:
    """Tell whether a tracker's library is there; a folder of its name, as wandb leaves one, is not the library."""
    spec = find_spec(tracker)
    return spec is not None and spec.origin is not None


def _find_mlflow_faults(environ: Mapping[str, str]) -> list[str]:
    address = environ.get("MLFLOW_TRACKING_URI", "")
    examples = "http://host:5000, or sqlite:////absolute/path/mlflow.db without a server"
    if not address:
        return [f"{SETTING}=mlflow needs an address in MLFLOW_TRACKING_URI, such as {examples}"]
    is_folder = urlsplit(address).scheme in ("", "file") and address not in DATABRICKS
    if is_folder and environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() != "true":
        return [
            f"MLFLOW_TRACKING_URI is {address!r}, a folder, which MLflow refuses since 3.17 unless "
            f"MLFLOW_ALLOW_FILE_STORE=true. Give it another address, such as {examples}"
        ]
    return []


def _find_wandb_faults(environ: Mapping[str, str], on_cluster: bool) -> list[str]:
    if environ.get("WANDB_MODE") == "disabled":
        return [f"WANDB_MODE is 'disabled', so {SETTING}=wandb would show nothing. Unset {SETTING}, or WANDB_MODE"]
    if environ.get("WANDB_MODE") in WITHOUT_KEY or any(environ.get(name) for name in KEYS):
        return []
    host = environ.get("WANDB_BASE_URL", WANDB_HOST)
    if not on_cluster and _is_in_netrc(urlsplit(host).netloc, environ):
        return []
    where = "WANDB_API_KEY" if on_cluster else f"WANDB_API_KEY or, for {host}, in ~/.netrc (`wandb login`)"
    return [
        f"{SETTING}=wandb found no key in {where}, and a run asks for none. Set WANDB_API_KEY, or WANDB_MODE=offline "
        "to write files that `wandb sync` uploads later"
    ]


def _is_in_netrc(host: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the file of keys that wandb reads has one for a host."""
    named = [Path(environ["NETRC"])] if environ.get("NETRC") else [Path.home() / ".netrc", Path.home() / "_netrc"]
    try:
        found = [netrc.netrc(path).authenticators(host) for path in named if path.is_file()]
    except (netrc.NetrcParseError, OSError):  # wandb does not read such a file either
        return False
    return any(found)
