"""The trackers: one interface, and an adapter for each of TensorBoard, MLflow and Weights & Biases.

A tracker that is made again for the same training continues what it has of it. Each adapter imports its library when it
is made, because hardly anybody has all three.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from comem_core.tracking.choosing import TrackedTraining, TrackerName, flatten

Outcome = Literal["finished", "interrupted", "failed"]
Row = tuple[int, float, Mapping[str, float]]
"""A step, its time (in seconds since 1970) and its measures by name."""
Each = TypeVar("Each")
PROJECT = "comem"


class Tracker(ABC):
    """What shows the steps of a training. Its calls may take long and may fail; `Delivery` keeps training from both.

    `where` says how a user sees the training. Steps up to `last_step` are shown already.
    """

    where: str
    last_step: int = 0

    @abstractmethod
    def __init__(self, training: TrackedTraining) -> None: ...

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Write steps, so that they are seen at once and survive the end of this process."""

    @abstractmethod
    def close(self, outcome: Outcome) -> None: ...


class TensorBoard(Tracker):
    """One folder of event files for a training, of which the last step is read where it goes on.

    `SummaryWriter(purge_step=...)` would not do: TensorBoard 2.21 shows steps twice all the same if it is started with
    `--load_fast=false`.
    """

    def __init__(self, training: TrackedTraining) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = training.folder / "tensorboard" / training.name
        self.where = f"`tensorboard --logdir {folder.parent}` shows it as {training.name}"
        is_new = not folder.exists()
        self.last_step = 0 if is_new else self._read_last_step(folder)
        self.writer = SummaryWriter(str(folder))
        if is_new:
            fields = training.labels | dict(flatten(training.parameters))
            rows = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in fields.items()]
            self.writer.add_text("recipe", "\n".join(["| field | value |", "| --- | --- |", *rows]), 0)

    def _read_last_step(self, folder: Path) -> int:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]

        found = EventAccumulator(str(folder), size_guidance={"scalars": 1}).Reload()
        return found.Scalars("loss")[-1].step if "loss" in found.Tags()["scalars"] else 0

    def write(self, rows: Sequence[Row]) -> None:
        for step, time, measures in rows:
            for name, value in measures.items():
                self.writer.add_scalar(name, value, step, walltime=time)
        self.writer.flush()

    def close(self, outcome: Outcome) -> None:
        self.writer.close()


class MLflow(Tracker):
    """One MLflow run for a training, found again by a tag. What its server has decides which steps are sent."""

    STATUS: Mapping[Outcome, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
    TAG = "comem_training"
    MOST_PARAMETERS, MOST_METRICS = 100, 1000  # of one request

    def __init__(self, training: TrackedTraining) -> None:
        # By default, a server that is gone is tried for minutes before there is an error to tell.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        self.client = MlflowClient()
        experiment = self._find_experiment()
        found = self.client.search_runs([experiment], f"tags.{self.TAG} = '{training.name}'", max_results=1)
        if found:
            self.run_id, described = found[0].info.run_id, bool(found[0].data.params)
            self.client.update_run(self.run_id, status="RUNNING")
            history = self.client.get_metric_history(self.run_id, "loss")
            self.last_step = max((each.step for each in history), default=0)
        else:
            tags = {self.TAG: training.name, **training.labels}
            self.run_id, described = (
                self.client.create_run(experiment, run_name=training.name, tags=tags).info.run_id,
                False,
            )
        if not described:
            self._describe(training.parameters)
        self.where = f"MLflow at {self.client.tracking_uri} shows it as {training.name} (run {self.run_id})"

    def _find_experiment(self) -> str:
        if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else self.client.create_experiment(name)

    def _describe(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        fields = [Param(name, str(value)) for name, value in flatten(parameters)]
        for some in _cut(fields, self.MOST_PARAMETERS):
            self.client.log_batch(self.run_id, params=some)

    def write(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        most = max(1, self.MOST_METRICS // max(len(measures) for _, _, measures in rows))
        for some in _cut(rows, most):
            metrics = [
                Metric(name, value, round(time * 1000), step)
                for step, time, measures in some
                for name, value in measures.items()
            ]
            self.client.log_batch(self.run_id, metrics=metrics)

    def close(self, outcome: Outcome) -> None:
        self.client.set_terminated(self.run_id, status=self.STATUS[outcome])


class WeightsAndBiases(Tracker):
    """One W&B run for a training, found again by its id. Offline, a file keeps how far its files go."""

    def __init__(self, training: TrackedTraining) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # pyright: ignore[reportMissingImports]

        folder = Path(os.environ.get("WANDB_DIR", training.folder))
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{training.fingerprint}-{training.run_id}"  # the stage too would be longer than an id may be
        # It must neither ask for a key, nor take this process's output, nor look for a repository and send its state.
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=name,
            name=training.name,
            resume="allow",
            dir=folder,
            config={**training.labels, **training.parameters},
            reinit="create_new",  # not the run of a training before, whose end may still be under way
            allow_val_change=True,
            settings=quiet,
        )
        self.noted = folder / "wandb" / f"{name}.last_step"
        if not (self.run.offline or self.run.disabled):
            self.last_step, self.where = self.run.starting_step - 1, f"{self.run.url} shows it as {training.name}"
            return
        self.last_step = int(self.noted.read_text()) if self.noted.is_file() else 0
        self.where = f"`wandb sync {folder / 'wandb'}/offline-run-*-{name}` uploads it as {training.name}"

    def write(self, rows: Sequence[Row]) -> None:
        for step, time, measures in rows:
            self.run.log({**measures, "_timestamp": time}, step=step)
        self.noted.write_text(str(rows[-1][0]))

    def close(self, outcome: Outcome) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.run.finish(exit_code=0 if outcome == "finished" else 1)
        wandb.teardown()  # ends wandb's process; without it, 0.31 may return before an offline file is whole


TRACKERS: Mapping[TrackerName, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


def _cut(values: Sequence[Each], most: int) -> Iterator[Sequence[Each]]:
    """Yield the values in order, at most so many at once."""
    for start in range(0, len(values), most):
        yield values[start : start + most]
