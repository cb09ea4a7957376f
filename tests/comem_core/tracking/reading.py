"""Reads back what a tracker was given, with each library's own reader."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comem_core.tracking.choosing import TrackedTraining

BLOCK, HEADER, RECORD_HEADER = 32768, 7, struct.Struct("<IHB")  # of a log file as LevelDB writes it


def read_losses(training: TrackedTraining) -> list[tuple[int, float]]:
    """Read the step and loss of every row that the tracker has of a training, in the order given."""
    readers = {"tensorboard": _read_tensorboard, "mlflow": _read_mlflow, "wandb": _read_wandb}
    return [(step, round(loss, 6)) for step, loss in readers[training.tracker](training)]


def _read_tensorboard(training: TrackedTraining) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # pyright: ignore[reportMissingImports]
    from tensorboard.util.tensor_util import make_ndarray  # pyright: ignore[reportMissingImports]

    folder, found = training.folder / "tensorboard" / training.name, []
    for file in sorted(folder.iterdir()):  # every event, also those that TensorBoard would not show
        for event in EventFileLoader(str(file)).Load():
            found += [
                (event.step, float(make_ndarray(value.tensor).item()))
                for value in event.summary.value
                if value.tag == "loss"
            ]
    return sorted(found)


def _read_mlflow(training: TrackedTraining) -> list[tuple[int, float]]:
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

    return [
        (each.step, each.value) for each in MlflowClient().get_metric_history(find_mlflow_run().info.run_id, "loss")
    ]


def find_mlflow_run() -> Any:
    """Return the only run of the project."""
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient()
    experiment = client.get_experiment_by_name("comem")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    return run


def _read_wandb(training: TrackedTraining) -> list[tuple[int, float]]:
    found = []
    for record in read_wandb_records(training):
        if record.WhichOneof("record_type") == "history":
            values = {each.key or each.nested_key[0]: json.loads(each.value_json) for each in record.history.item}
            found.append((values["_step"], values["loss"]))
    return found


def read_wandb_records(training: TrackedTraining) -> Iterator[Any]:
    """Yield the records of a training's offline files. wandb 0.31 has no reader of its own any more."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    folder = Path(os.environ.get("WANDB_DIR", training.folder)) / "wandb"
    for file in sorted(folder.glob(f"offline-run-*-{training.fingerprint}-{training.run_id}/*.wandb")):
        for data in _read_log(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            yield record


def _read_log(content: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log, which may be cut where a block of the file ends."""
    place, begun = HEADER, b""
    while place + RECORD_HEADER.size <= len(content):
        if (left := BLOCK - place % BLOCK) < RECORD_HEADER.size:
            place += left
            continue
        _, length, kind = RECORD_HEADER.unpack_from(content, place)
        place += RECORD_HEADER.size
        begun += content[place : place + length]
        place += length
        if kind in (1, 4):  # whole, or the last part
            yield begun
            begun = b""
