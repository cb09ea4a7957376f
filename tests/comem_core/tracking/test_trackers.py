"""What the libraries' own readers find: each step once, under the training's name, with the recipe's fields."""

from collections.abc import Callable
from typing import Any

import pytest

from comem_core.tracking.choosing import TrackedTraining, TrackerName
from comem_core.tracking.delivery import deliver_steps
from comem_core.tracking.trackers import TRACKERS, Row
from tests.comem_core.tracking.reading import find_mlflow_run, read_losses, read_wandb_records

Make = Callable[[TrackerName], TrackedTraining]
FIELDS = {"training.optimizer.learning_rate": "5e-05", "words": "a|b", "start": "None"}


def make_rows(first: int, last: int) -> list[Row]:
    return [(step, 1.8e9 + step, {"loss": 1 / step, "learning_rate": 5e-5}) for step in range(first, last + 1)]


def expect(last: int) -> list[tuple[int, float]]:
    return [(step, round(1 / step, 6)) for step in range(1, last + 1)]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_training_that_goes_on_is_one_training_with_each_step_once(make_training: Make, name: TrackerName) -> None:
    training = make_training(name)
    for last in (5, 1200):  # more metrics than MLflow takes in one request
        with deliver_steps(training, print) as delivery:
            for step, _, measures in make_rows(1, last):
                delivery.add(step, measures)
            delivery.outcome = "finished"
    assert read_losses(training) == expect(1200)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_made_again_knows_its_last_step(make_training: Make, name: TrackerName) -> None:
    training = make_training(name)
    first = TRACKERS[name](training)
    assert first.last_step == 0
    first.write(make_rows(1, 4))
    first.close("interrupted")
    again = TRACKERS[name](training)
    assert again.last_step == 4 and training.name in again.where
    again.close("finished")


def test_tensorboard_shows_the_recipe_and_the_ids(make_training: Make) -> None:
    training = make_training("tensorboard")
    tracker = TRACKERS["tensorboard"](training)
    tracker.write(make_rows(1, 1))
    tracker.close("finished")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]
    from tensorboard.util.tensor_util import make_ndarray  # pyright: ignore[reportMissingImports]

    read = EventAccumulator(str(training.folder / "tensorboard" / training.name)).Reload()
    assert {each.wall_time for each in read.Scalars("loss")} == {1.8e9 + 1}
    texts: list[Any] = [make_ndarray(each.tensor_proto).item() for each in read.Tensors("recipe/text_summary")]
    [table] = [text.decode() for text in texts]
    for line in (
        "| training.optimizer.learning_rate | 5e-05 |",
        r"| words | a\|b |",
        f"| run_id | {training.run_id} |",
    ):
        assert line in table


@pytest.mark.parametrize(
    ("outcome", "status"), [("finished", "FINISHED"), ("interrupted", "KILLED"), ("failed", "FAILED")]
)
def test_mlflow_has_the_recipe_the_ids_and_how_it_ended(make_training: Make, outcome, status: str) -> None:
    training = make_training("mlflow")
    tracker = TRACKERS["mlflow"](training)
    tracker.write(make_rows(1, 1))
    tracker.close(outcome)
    run = find_mlflow_run()
    assert run.data.params == FIELDS and run.info.status == status and run.info.run_name == training.name
    assert {name: run.data.tags[name] for name in training.labels} == training.labels


def test_wandb_has_the_recipe_the_ids_and_neither_output_nor_repository(make_training: Make) -> None:
    training = make_training("wandb")
    tracker = TRACKERS["wandb"](training)
    tracker.write(make_rows(1, 1))
    tracker.close("failed")
    records = list(read_wandb_records(training))
    kinds = [record.WhichOneof("record_type") for record in records]
    run = records[kinds.index("run")].run
    config = {each.key: each.value_json for each in run.config.update}
    assert (run.display_name, run.project, run.git.remote_url) == (training.name, "comem", "")
    assert config["run_id"] == f'"{training.run_id}"' and "learning_rate" in config["training"]
    assert "output_raw" not in kinds and records[kinds.index("exit")].exit.exit_code == 1
