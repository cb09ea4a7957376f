"""Where and with what a run works: folders, cluster, workers. Read from `COMEM_*` variables; decides no result.

Nothing of it ever enters a fingerprint: the same recipe on a laptop and on a cluster names the same artefact.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import psutil

MEGABYTE = 1024**2
FRACTIONS = ("cpus_per_actor", "gpus_per_actor", "answer_seconds")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Every field `name` is read from the variable `COMEM_NAME`; the Ray address from `RAY_ADDRESS`."""

    root: Path
    """The folder `.comem` that holds all of the below, unless they are set on their own."""
    store: Path
    """Folder of artefacts."""
    warehouse: Path
    """The DuckDB file."""
    benchmarks: Path
    """Folder of the benchmarks' files as released, a folder a benchmark."""
    ray_address: str | None = None
    """A cluster to join; None starts a local Ray for the run."""
    num_actors: int = 1
    """How many workers a stage spreads its shards over."""
    cpus_per_actor: float = 1
    gpus_per_actor: float = 0
    train_workers: int = 1
    device: str = "cpu"
    batch_size: int = 16
    """Samples that one forward pass takes on one device."""
    rows_per_shard: int = 64
    """Rows that a worker finishes before it writes them down; a continued artefact keeps what it began with."""
    served_url: str | None = None
    """Where a served model answers, up to `/v1`; needed by recipes that name one."""
    served_key: str | None = field(default=None, repr=False)
    """What it asks for as a key; a server of one's own often asks for none."""
    judge_url: str | None = None
    """Where a served judge answers, up to `/v1`; needed where one is named."""
    judge_key: str | None = field(default=None, repr=False)
    """What it asks for as a key."""
    served_concurrency: int = 8
    """Requests that one worker has under way at a time."""
    served_timeout_seconds: float = 120.0
    """How long one request may take before it is tried again."""
    answer_seconds: float | None = None
    """How long one batch of answers may take; then it is cut off and its answers are told as timed out."""
    lock_wait_seconds: float = 6 * 3600
    """How long a run waits for another run that makes the same artefact."""
    min_free_disk_mb: int = 500
    min_free_memory_mb: int = 1000

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Context":
        """Read the context from `COMEM_*` variables.

        Raises ValueError for a variable that is no setting or whose value has the wrong type.
        """
        environ = os.environ if environ is None else environ
        root = Path(environ.get("COMEM_ROOT") or Path.cwd()).absolute() / ".comem"
        settings: dict[str, object] = {"root": root, "store": root / "store", "warehouse": root / "warehouse.duckdb"}
        settings["benchmarks"] = root / "benchmarks"
        settings["ray_address"] = environ.get("RAY_ADDRESS") or None
        settings["num_actors"] = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
        for each in fields(cls):
            text = environ.get(f"COMEM_{each.name.upper()}")
            if text and each.name not in ("root", "ray_address"):
                settings[each.name] = _read(each.name, text)
        context = cls(**settings)  # pyright: ignore[reportArgumentType]
        if context.device == "cuda" and "COMEM_GPUS_PER_ACTOR" not in environ:
            raise ValueError(
                "COMEM_DEVICE=cuda needs COMEM_GPUS_PER_ACTOR (for example 1), or Ray gives workers no GPU"
            )
        return context

    def check(self) -> None:
        """Find what would stop a run before anything expensive begins.

        Raises ValueError that lists every fault found, each with what to do.
        """
        faults = [
            *_folder_faults("COMEM_STORE", self.store),
            *_folder_faults("COMEM_WAREHOUSE", self.warehouse.parent),
            *self._count_faults(),
            *self._resource_faults(),
        ]
        if faults:
            raise ValueError("this run cannot start:\n" + "\n".join(f"  - {fault}" for fault in faults))

    def _count_faults(self) -> list[str]:
        positive = ("num_actors", "train_workers", "batch_size", "rows_per_shard", "served_concurrency")
        faults = [
            f"COMEM_{name.upper()} is {getattr(self, name)}; expected 1 or more"
            for name in positive
            if getattr(self, name) < 1
        ]
        if self.device not in ("cpu", "cuda"):
            faults.append(f"COMEM_DEVICE is {self.device!r}; expected 'cpu' or 'cuda'")
        return faults

    def _resource_faults(self) -> list[str]:
        faults = []
        free = shutil.disk_usage(_existing(self.store)).free // MEGABYTE
        if free < self.min_free_disk_mb:
            faults.append(
                f"{free} MB are free on the disk of {self.store}; at least {self.min_free_disk_mb} MB are needed. "
                "Free some space, set COMEM_STORE to another disk, or lower COMEM_MIN_FREE_DISK_MB"
            )
        memory = psutil.virtual_memory().available // MEGABYTE
        if self.ray_address is None and memory < self.min_free_memory_mb:
            faults.append(
                f"{memory} MB of memory are free; at least {self.min_free_memory_mb} MB are needed. "
                "Close other programs, or lower COMEM_MIN_FREE_MEMORY_MB"
            )
        wants_gpu = self.device == "cuda" or self.gpus_per_actor > 0
        if wants_gpu and self.ray_address is None and not _has_gpu():
            faults.append(
                "a GPU is asked for (COMEM_DEVICE, COMEM_GPUS_PER_ACTOR) but torch finds none on this machine. "
                "Set COMEM_DEVICE=cpu and COMEM_GPUS_PER_ACTOR=0, or RAY_ADDRESS to a cluster that has one"
            )
        return faults


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """One run: what every stage gets first, beside its part of the recipe."""

    run_id: str
    recipe_name: str
    context: Context


def _read(name: str, text: str) -> object:
    kind = {
        "store": Path,
        "warehouse": Path,
        "benchmarks": Path,
        "device": str,
        "served_url": str,
        "served_key": str,
        "judge_url": str,
        "judge_key": str,
    }.get(name)
    if kind is Path:
        return Path(text).absolute()
    if kind is str:
        return text
    default = next(each.default for each in fields(Context) if each.name == name)
    number = float if isinstance(default, float) or name in FRACTIONS else int
    try:
        return number(text)
    except ValueError:
        raise ValueError(f"COMEM_{name.upper()} is {text!r}; expected a number such as {default}") from None


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _folder_faults(name: str, folder: Path) -> list[str]:
    existing = _existing(folder)
    if not existing.is_dir():
        return [f"{folder} cannot be made: {existing} is a file. Set {name} to a folder"]
    if not os.access(existing, os.W_OK | os.X_OK):
        return [f"{existing} is not writable for you. Set {name} to a folder that is"]
    return []


def _has_gpu() -> bool:
    import torch  # takes seconds, so it is paid only where a GPU is asked for

    return torch.cuda.is_available()
