"""Where a run works and with what: folders, cluster, workers. Read from `COMEM_*` variables; decides no result.

Also how a run refuses what a user said, here or in an option.

The context never enters a fingerprint: the same recipe names the same artefact on a laptop and on a cluster.
"""

import contextlib
import difflib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import psutil

from comem_core.ranges import Range
from comem_core.tracking.choosing import TrackerName, find_tracker_faults
from comem_core.training import gpu_defaults
from tasks.engine.address.setting import (
    find_existing,
    find_folder_faults,
    find_store_faults,
    name_store_setting,
    read_store_setting,
)
from tasks.engine.attempts import ByStage, RetriesByStage, SecondsByStage

MEGABYTE = 1024**2
PREFIX = "COMEM_"
ELSEWHERE: Mapping[str, str] = {
    "COMEM_ROOT": "the project's folder, which holds .comem",
    "COMEM_WORK_POOL": "the work pool of the deployments (flows/local, prefect.yaml)",
    "COMEM_PROJECT": "the project's folder where the runs of that pool work (flows/local, prefect.yaml)",
    "COMEM_PORT": "the port of the local Prefect server (flows/local)",
    "COMEM_MAX_RUNS": "how many runs the local worker does at once (flows/local)",
    "COMEM_LOCAL": "marks the processes that flows/local starts",
    "COMEM_PYTHON": "the interpreter that the Makefile makes .venv with",
    "COMEM_WEBHOOK": "the address that `make alert` lets the Prefect server call (flows/local)",
    "COMEM_SERVICE_KEY": "the key that clients of `make serve-memory` send (comem_core)",
    "COMEM_DATA_ROOTS": "the folders that paths and links in data may lead to (comem_core)",
    "COMEM_CACHE": "the cache folder: everything in it can be made again (comem_core)",
    "COMEM_STORE_CACHE": "the folder of local copies of stores that are addresses (comem_core)",
    "COMEM_STORE_WAIT_SECONDS": "how long a process waits for the address of the store to answer (comem_core)",
}
"""The project's variables that are not fields of the context."""
GPU_DEFAULTS: Mapping[str, object] = {
    "train_tokens": gpu_defaults.TOKENS_AT_ONCE,
    "train_checkpointing": "on" if gpu_defaults.GRADIENT_CHECKPOINTING else "off",
}
READ_OTHERWISE = ("root", "ray_address", "store", "store_address")
"""The fields that no variable of their own name gives as it is; COMEM_STORE gives two."""
ONE_OR_MORE, NOT_NEGATIVE, POSITIVE = Range(1), Range(0), Range(0, above=True)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The settings of a run. Each field is read from `COMEM_<FIELD>`, but the Ray address from `RAY_ADDRESS`."""

    root: Path
    """The folder `.comem`, which holds store, warehouse and benchmarks unless they are set separately."""
    store: Path
    """Folder of artefacts; if they are at an address, the folder of its local copy."""
    store_address: str | None = None
    """The address of the artefacts, such as `s3://bucket/store`; None: they are in the folder. COMEM_STORE gives it."""
    warehouse: Path
    """The DuckDB file."""
    benchmarks: Path
    """Folder of the benchmarks' files as released, one folder for each benchmark."""
    ray_address: str | None = None
    """A cluster to join; None starts a local Ray for the run."""
    num_actors: Annotated[int, ONE_OR_MORE] = 1
    """How many workers a stage spreads its shards over."""
    cpus_per_actor: Annotated[float, NOT_NEGATIVE] = 1
    gpus_per_actor: Annotated[float, NOT_NEGATIVE] = 0
    train_workers: Annotated[int, ONE_OR_MORE] = 1
    train_tokens: Annotated[int, ONE_OR_MORE] | None = None
    """Tokens of a micro-batch in training, padding included; None: a worker's part of the batch at once. On a GPU
    `GPU_DEFAULTS` hold unless a variable says otherwise."""
    train_checkpointing: Literal["off", "on"] = "off"
    """Whether training computes activations again in the backward pass instead of keeping them."""
    train_sharding: Literal["off", "on"] = "off"
    """Whether the workers of training share the layers of the frozen model out, instead of each holding all."""
    train_proof: Literal["sampled", "whole"] = "sampled"
    """How training shows that the frozen weights are unchanged: by versions and sampled blocks, or by all bytes."""
    tracker: TrackerName | None = None
    """What shows the steps of trainings besides Prefect; it reads its own variables, such as `MLFLOW_TRACKING_URI`."""
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: Annotated[int, ONE_OR_MORE] = 16
    """Samples in one forward pass on one device."""
    rows_per_shard: Annotated[int, ONE_OR_MORE] = 64
    """Rows of one shard; a continued artefact keeps the number it began with."""
    served_url: str | None = None
    """Address of the served model, up to `/v1`; needed by recipes that name one."""
    served_key: str | None = field(default=None, repr=False)
    """The key of that server; a local server often needs none."""
    judge_url: str | None = None
    """Address of the served judge, up to `/v1`; needed by recipes that name one."""
    judge_key: str | None = field(default=None, repr=False)
    """The key of that server."""
    vllm_key: str | None = field(default=None, repr=False)
    """The key of the vLLM server that answers with `reader=vllm:<address>`."""
    vllm_python: str | None = None
    """The interpreter that has vLLM, for `vllm:<model>`; None: the worker's own."""
    vllm_args: str | None = None
    """Further arguments of vLLM's server, as in a shell."""
    served_concurrency: Annotated[int, ONE_OR_MORE] = 8
    """Requests that one worker sends at the same time."""
    served_timeout_seconds: Annotated[float, POSITIVE] = 120.0
    """How long one request may take before it is tried again."""
    answer_seconds: Annotated[float, POSITIVE] | None = None
    """How long one batch of answers may take; then it is cut off and its answers are recorded as timed out."""
    stage_seconds: SecondsByStage | None = None
    """How long one try of a stage may take, for all stages or by stage; None: as long as it takes."""
    stage_retries: RetriesByStage | None = None
    """How often a stage that failed is tried again, for all stages or by stage; None: as the stage says."""
    pages_url: str | None = None
    """Address at which the pages of the store are served, such as http://127.0.0.1:4300; `make serve` sets it."""
    lock_wait_seconds: Annotated[float, NOT_NEGATIVE] = 6 * 3600
    """How long a run waits for another run that is making the same artefact."""
    min_free_disk_mb: Annotated[int, NOT_NEGATIVE] = 500
    min_free_memory_mb: Annotated[int, NOT_NEGATIVE] = 1000

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Context":
        """Read the context from `COMEM_*` variables.

        Raises ValueError for a variable that is not a setting, is empty, or has a value of the wrong type.
        """
        environ = os.environ if environ is None else environ
        check_names(environ)
        root = Path(environ.get("COMEM_ROOT", Path.cwd())).absolute() / ".comem"
        settings: dict[str, object] = {"root": root, "warehouse": root / "warehouse.duckdb"}
        settings |= read_store_setting(environ, without=root / "store")
        settings["benchmarks"] = root / "benchmarks"
        settings["ray_address"] = environ.get("RAY_ADDRESS") or None
        settings["num_actors"] = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
        settings |= {
            name: _read(name, environ[setting]) for name, setting in _map_settings().items() if setting in environ
        }
        if settings.get("device") == "cuda":
            settings = {**GPU_DEFAULTS, **settings}
        context = cls(**settings)  # pyright: ignore[reportArgumentType]
        if context.device == "cuda" and "COMEM_GPUS_PER_ACTOR" not in environ:
            raise ValueError(
                "COMEM_DEVICE=cuda needs COMEM_GPUS_PER_ACTOR (for example 1); otherwise Ray gives workers no GPU"
            )
        return context

    def check(self) -> None:
        """Check for everything that would stop a run, before anything expensive begins.

        Raises ValueError that lists every fault found, each with its remedy.
        """
        faults = [
            *find_store_faults(self.store, self.store_address),
            *find_folder_faults("COMEM_WAREHOUSE", self.warehouse.parent),
            *self._find_value_faults(),
            *self._find_tracker_faults(),
            *self._find_resource_faults(),
        ]
        if faults:
            raise ValueError("this run cannot start:\n" + "\n".join(f"  - {fault}" for fault in faults))

    def _find_value_faults(self) -> list[str]:
        """Find the values that break the rules in the fields' annotations."""
        faults = []
        for name, setting in _map_settings().items():
            value, (kind, rule) = getattr(self, name), _read_rule(name)
            if get_origin(kind) is Literal and value is not None and value not in get_args(kind):
                faults.append(f"{setting} is {value!r}; expected {' or '.join(map(repr, get_args(kind)))}")
            if rule is not None and value is not None and not rule.allows(value):
                faults.append(f"{setting} is {value}; expected {rule}")
            if name == "train_sharding" and value == "on" and self.train_workers == 1:
                faults.append(
                    f"{setting} is 'on', but COMEM_TRAIN_WORKERS is 1, so there is nobody to share the model with. Set "
                    f"COMEM_TRAIN_WORKERS to 2 or more, or unset {setting}"
                )
            if name.endswith("_url") and value is not None and not value.startswith(("http://", "https://")):
                faults.append(f"{setting} is {value!r}; expected an address such as http://host:8000/v1")
        return faults

    def _find_tracker_faults(self) -> list[str]:
        if self.tracker is None or self.tracker not in get_args(TrackerName):
            return []
        return find_tracker_faults(self.tracker, os.environ, on_cluster=self.ray_address is not None)

    def _find_resource_faults(self) -> list[str]:
        faults = []
        free = shutil.disk_usage(find_existing(self.store)).free // MEGABYTE
        if free < self.min_free_disk_mb:
            faults.append(
                f"{free} MB are free on the disk of {self.store}; at least {self.min_free_disk_mb} MB are needed. "
                f"Free some space, set {name_store_setting(self.store_address)} to another disk, or lower "
                "COMEM_MIN_FREE_DISK_MB"
            )
        memory = psutil.virtual_memory().available // MEGABYTE
        if self.ray_address is None and memory < self.min_free_memory_mb:
            faults.append(
                f"{memory} MB of memory are free; at least {self.min_free_memory_mb} MB are needed. "
                "Close other programs, or lower COMEM_MIN_FREE_MEMORY_MB"
            )
        wants_gpu = self.device == "cuda" or self.gpus_per_actor > 0
        if wants_gpu and self.ray_address is None and not has_gpu():
            faults.append(
                "COMEM_DEVICE or COMEM_GPUS_PER_ACTOR asks for a GPU, but torch finds none on this machine. "
                "Set COMEM_DEVICE=cpu and COMEM_GPUS_PER_ACTOR=0, or RAY_ADDRESS to a cluster that has one"
            )
        return faults


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """What the engine needs to know of a run."""

    run_id: str
    recipe_name: str
    context: Context


def check_names(environ: Mapping[str, str]) -> None:
    """Refuse `COMEM_*` variables that are unknown or empty.

    Raises ValueError that names the variable and, if it is unknown, the known one with the most similar name.
    """
    known = [*_map_settings().values(), "COMEM_STORE", *ELSEWHERE]
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if name not in known:
            nearest = difflib.get_close_matches(name, [*known, "RAY_ADDRESS"], n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{name} is not a setting of this project; did you mean {nearest}? Set that, or unset {name}"
            )
        if not environ[name].strip():
            raise ValueError(f"{name} is set to nothing; give it a value, or unset it")


def _map_settings() -> dict[str, str]:
    """Map each field to the variable that it is read from, except the fields that are read in another way."""
    return {each.name: PREFIX + each.name.upper() for each in fields(Context) if each.name not in READ_OTHERWISE}


def _read_rule(name: str) -> tuple[Any, Range | None]:
    """Return the type of a setting and its smallest value, from the field's annotation."""
    kind = get_type_hints(Context, include_extras=True)[name]
    if NoneType in get_args(kind):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Annotated:
        kind, rule = get_args(kind)
        return kind, rule
    return kind, None


def _read(name: str, text: str) -> object:
    kind, _ = _read_rule(name)
    if kind is Path:
        return Path(text).absolute()
    if isinstance(kind, type) and issubclass(kind, ByStage):
        with refuse_faults(f"{PREFIX}{name.upper()} is {text!r}"):
            return kind.read(text)
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{PREFIX}{name.upper()} is {text!r}; expected {expected}") from None


def has_gpu() -> bool:
    """Tell whether torch finds a GPU on this machine."""
    import torch  # takes seconds, so it is imported only if a GPU is asked for

    return torch.cuda.is_available()


class ParameterRefused(ValueError):
    """A parameter that a run refuses, or something that must be there before it: not a fault of the program.

    The message says what was found, what was expected and what to do. It ends a run, without a traceback.
    """


@contextlib.contextmanager
def refuse_faults(about: str = "") -> Iterator[None]:
    """Raise a ValueError of the block, or of the function that this decorates, as ParameterRefused.

    `about` names the option. Only for code that checks what a user said: elsewhere a ValueError may be our own fault.
    """
    try:
        yield
    except ParameterRefused:
        raise
    except ValueError as error:
        raise ParameterRefused(f"{about}: {error}" if about else str(error)) from error
