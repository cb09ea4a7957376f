"""Training on Ray Train, of something small: its steps and files are an artefact, and workers that were up stay up."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from prefect import flow

from comem_core.backbone.loading import load_backbone
from comem_core.recipes import find_recipe
from comem_core.training.loop import LossObjective
from comem_core.training.recipe import OptimizerRecipe
from comem_core.training.reports import NotFiniteError, SampleRefused
from tasks.engine.attempts import RetriesByStage, SecondsByStage
from tasks.engine.context import Context, ParameterRefused
from tasks.engine.on_ray import map_shards
from tasks.engine.partial import Partial
from tasks.engine.stage import stage_task
from tasks.engine.store import Store
from tasks.engine.training.on_ray_train import (
    CHECKPOINT,
    PROGRESS,
    STEPS,
    Build,
    TrainingFailed,
    name_tracked,
    train_on_ray,
)
from tasks.engine.training.train_worker import Saving, Trainee
from tasks.engine.workers import WorkerDied, Workers
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tests.comem_core.tracking.reading import read_losses


def make_run(context: Context) -> Run:
    return Run(run_id="r", recipe_name="t", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE)


def make_partial(tmp_path: Path) -> Partial:
    folder = tmp_path / "encoder.partial"
    folder.mkdir()
    return Partial(folder)


def make_build(
    loss: Callable[[torch.Tensor, int], torch.Tensor], *, on_build: Callable[[], object] = lambda: None, batch: str = ""
) -> Build:
    """Return a function that builds the training of two weights; nested, because workers do not see this module."""

    def build(rank: int, num_ranks: int) -> Trainee:
        weights = torch.nn.Parameter(torch.ones(2))
        on_build()

        class Small(LossObjective):
            def trainable(self):
                return {"weights": weights}

            def loss(self, step: int):
                return loss(weights, step), {"samples": 1.0, "tokens": 2.0}

            def describe_batch(self, step: int) -> str:
                return batch.format(rank=rank)

        return Trainee(objective=Small(), frozen=(), save=lambda folder: torch.save(weights.data, folder / "w.pt"))

    return build


@contextmanager
def cancelled_after(num_steps: int, done: Path) -> Iterator[None]:
    """Expect to be cancelled once the file `done` has so many lines."""

    class Cancelled(BaseException):
        """As Prefect cancels a run: an exception in the main thread that is not an error."""

    def cancel(*_: object) -> None:
        if done.exists() and len(done.read_text().split()) >= num_steps:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Cancelled

    former = signal.signal(signal.SIGALRM, cancel)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(Cancelled):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@pytest.mark.usefixtures("small_ray")
def test_something_small_is_trained_beside_workers_that_stay(context: Context, tmp_path: Path) -> None:
    build = make_build(lambda weights, step: (weights**2).sum())

    def make_worker():
        return lambda name: os.getpid()

    one = Workers(num_actors=1)
    before = map_shards(make_worker, {"a": 0}, workers=one)
    partial = make_partial(tmp_path)
    folder, optimizer = partial.folder, OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert sorted(path.name for path in folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]
    losses = pq.read_table(folder / f"{STEPS}.parquet")["loss"].to_pylist()
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert torch.load(folder / "w.pt", weights_only=True).max() < 1
    assert map_shards(make_worker, {"a": 0}, workers=one) == before


def test_a_run_that_was_killed_before_it_put_its_checkpoints_away_leaves_none(context: Context, tmp_path: Path) -> None:
    partial = make_partial(tmp_path)
    for name in (f"{STEPS}.parquet", "w.pt", f"{CHECKPOINT}00000004.pt", f"{CHECKPOINT}00000003.unreadable", PROGRESS):
        (partial.folder / name).write_bytes(b"made")

    def build(rank: int, num_ranks: int) -> Trainee:
        raise AssertionError("what is finished is not trained again")

    optimizer = OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert sorted(path.name for path in partial.folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]


@pytest.mark.usefixtures("small_ray")
def test_a_training_goes_on_where_it_was_cancelled_and_where_its_worker_is_killed(
    context: Context, tmp_path: Path
) -> None:
    done, killed = tmp_path / "steps.txt", tmp_path / "killed"

    def compute_slowly(weights: torch.Tensor, step: int) -> torch.Tensor:
        time.sleep(0.2)
        with done.open("a") as file:
            file.write(f"{step}\n")
        if step == 6 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return (weights**2).sum()

    build = make_build(compute_slowly)
    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=10, batch_size=1, learning_rate=0.1)
    with cancelled_after(3, done):
        train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    before = len(done.read_text().split())
    assert 3 <= before <= 6 and not (partial.folder / "w.pt").exists()
    train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert killed.exists()
    steps = [int(step) for step in done.read_text().split()]
    assert steps == [*range(7), *range(before, 10)]
    rows = pq.read_table(partial.folder / f"{STEPS}.parquet")
    assert rows["step"].to_pylist() == list(range(1, 11))
    assert sorted(path.name for path in partial.folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]


@pytest.mark.usefixtures("small_ray", "prefect_server")
def test_a_training_whose_time_is_over_goes_on_in_the_next_try(context: Context, tmp_path: Path) -> None:
    """Each try has time for some of the steps."""
    done = tmp_path / "steps.txt"

    def compute_slowly(weights: torch.Tensor, step: int) -> torch.Tensor:
        time.sleep(0.7)
        with done.open("a") as file:
            file.write(f"{step}\n")
        return (weights**2).sum()

    build = make_build(compute_slowly)
    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=10, batch_size=1, learning_rate=0.1)
    limits = {"stage_seconds": SecondsByStage.read("5"), "stage_retries": RetriesByStage.read("9")}
    tries = []

    @stage_task(name="train-encoder")
    def train(run: Run) -> None:
        tries.append(len(done.read_text().split()) if done.exists() else 0)
        train_on_ray(run, partial, optimizer, build, files=("w.pt",))

    flow(train)(make_run(replace(context, **limits)))
    assert [int(step) for step in done.read_text().split()] == list(range(10))
    assert len(tries) > 1 and tries == sorted(tries) and tries[-1] > 0
    assert sorted(path.name for path in partial.folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]


@pytest.mark.usefixtures("small_ray")
def test_what_a_training_cannot_do_is_refused_once_before_the_first_step(context: Context, tmp_path: Path) -> None:
    tried = tmp_path / "tried.txt"

    def build(rank: int, num_ranks: int) -> Trainee:
        class Impossible(LossObjective):
            def trainable(self):
                return {"weights": torch.nn.Parameter(torch.ones(2))}

            def check(self) -> None:
                with tried.open("a") as file:
                    file.write("once\n")
                raise ValueError("the sample s7 has 600 tokens, but the model reads at most 400")

            def loss(self, step: int):
                raise AssertionError("a step has begun")

        return Trainee(objective=Impossible(), frozen=(), save=lambda folder: None)

    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    with pytest.raises(ParameterRefused, match="the sample s7 has 600 tokens"):
        train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert tried.read_text() == "once\n" and partial.list_finished() == set()


@pytest.mark.usefixtures("small_ray")
def test_a_training_whose_last_checkpoint_is_torn_goes_on_at_the_one_before(
    context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = tmp_path / "steps.txt"

    def compute_slowly(weights: torch.Tensor, step: int) -> torch.Tensor:
        time.sleep(0.2)
        with done.open("a") as file:
            file.write(f"{step}\n")
        return (weights**2).sum()

    def train() -> None:
        build, optimizer = make_build(compute_slowly), OptimizerRecipe(num_steps=12, batch_size=1, learning_rate=0.1)
        train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))

    partial = make_partial(tmp_path)
    for num_steps in (3, 6):
        with cancelled_after(num_steps, done):
            train()
    before, newest = sorted(partial.folder.glob(f"{CHECKPOINT}*.pt"))
    newest.write_bytes(newest.read_bytes()[:-50])
    num_done = len(done.read_text().split())
    train()
    [warning] = [line for line in caplog.messages if "cannot be read" in line]
    assert str(newest) in warning
    again = [int(step) for step in done.read_text().split()[num_done:]]
    assert again == list(range(int(before.stem.removeprefix(CHECKPOINT)), 12))
    rows = pq.read_table(partial.folder / f"{STEPS}.parquet")
    assert rows["step"].to_pylist() == list(range(1, 13))
    assert sorted(path.name for path in partial.folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]


@pytest.mark.usefixtures("small_ray")
def test_a_training_goes_on_under_its_name_in_the_tracker_with_each_step_once(
    context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    killed = tmp_path / "killed"

    def compute_slowly(weights: torch.Tensor, step: int) -> torch.Tensor:
        time.sleep(0.3)
        if step == 12 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return (weights**2).sum()

    partial = Store.of(context).begin("encoder", "f" * 16)
    optimizer = OptimizerRecipe(num_steps=14, batch_size=1, learning_rate=0.1)
    tracked = replace(make_run(context), context=replace(context, tracker="tensorboard"))
    with caplog.at_level("INFO"):
        train_on_ray(
            tracked, partial, optimizer, make_build(compute_slowly), files=("w.pt",), parameters={"seed": {"a": 1}}
        )
    assert killed.exists()
    training = name_tracked(replace(tracked, run_id="a later run"), partial, {})
    assert training is not None and training.name == f"encoder-{'f' * 16}-r"
    rows = pq.read_table(partial.folder / f"{STEPS}.parquet").to_pylist()
    assert read_losses(training) == [(row["step"], round(row["loss"], 6)) for row in rows]
    [where] = {line for line in caplog.messages if "are tracked: `tensorboard --logdir" in line}
    assert str(context.store / "tracking/tensorboard") in where
    assert re.match(
        r"step 14 of 14, loss .*, learning rate .*, .* samples a second, "
        r"peak memory .* GB of the first worker's process, 0 s remain",
        caplog.messages[-1],
    )


@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_the_first_of_several_workers_reports_to_the_tracker(context: Context, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    partial = Store.of(context).begin("encoder", "f" * 16)
    tracked = replace(make_run(context), context=replace(context, tracker="tensorboard", train_workers=2))
    optimizer = OptimizerRecipe(num_steps=4, batch_size=2, learning_rate=0.1)
    train_on_ray(tracked, partial, optimizer, make_build(lambda weights, step: weights.sum()), files=("w.pt",))
    training = name_tracked(tracked, partial, {})
    assert training is not None and [step for step, _ in read_losses(training)] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_a_training_whose_worker_always_dies_says_so(context: Context, tmp_path: Path) -> None:
    def die(weights: torch.Tensor, step: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return weights.sum()

    optimizer = OptimizerRecipe(num_steps=2, batch_size=1, learning_rate=0.1)
    with pytest.raises(WorkerDied, match=r"training lost its worker 3 times .* goes on at the last checkpoint"):
        train_on_ray(make_run(context), make_partial(tmp_path), optimizer, make_build(die), files=("w.pt",))


@pytest.mark.usefixtures("small_ray")
def test_a_training_that_is_not_finite_stops_once_and_keeps_nothing(context: Context, tmp_path: Path) -> None:
    tried = tmp_path / "tried.txt"

    def note_build() -> None:
        with tried.open("a") as file:
            file.write("once\n")

    def break_at_two(weights: torch.Tensor, step: int) -> torch.Tensor:
        return (weights * (float("nan") if step == 2 else 1)).sum()

    build = make_build(break_at_two, on_build=note_build, batch="the odd sample")
    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    with pytest.raises(NotFiniteError, match=r"step 3: the loss came to nan.*the odd sample"):
        train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert partial.list_finished() == set() and tried.read_text() == "once\n"


@pytest.mark.slow  # its worker loads a model
@pytest.mark.usefixtures("small_ray")
def test_a_training_that_changes_the_frozen_weights_keeps_nothing(context: Context, tmp_path: Path) -> None:
    def build(rank: int, num_ranks: int) -> Trainee:
        weights, reader = torch.nn.Parameter(torch.ones(2)), load_backbone("tiny")

        class Careless(LossObjective):
            def trainable(self):
                return {"weights": weights}

            def loss(self, step: int):
                reader.model.lm_head.weight.data[0] += 1.0
                return (weights**2).sum(), {"samples": 1.0, "tokens": 2.0}

        return Trainee(objective=Careless(), frozen=(reader,), save=lambda folder: None)

    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=1, batch_size=1, learning_rate=0.1)
    with pytest.raises(Exception, match="training has changed the reader's own weights: the hash of all weights has"):
        train_on_ray(make_run(context), partial, optimizer, build, files=("w.pt",))
    assert partial.list_finished() == set()


@pytest.mark.usefixtures("small_ray")
@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_sample_that_cannot_be_prepared_ends_the_training_at_once(
    context: Context, tmp_path: Path, num_workers: int
) -> None:
    tried = tmp_path / "tried.txt"

    def note_build() -> None:
        with tried.open("a") as file:
            file.write("once\n")

    def refuse_at_two(weights: torch.Tensor, step: int) -> torch.Tensor:
        if step == 2:
            rank = torch.distributed.get_rank() if num_workers > 1 else 0
            raise SampleRefused(f"the sample s{rank} cannot be prepared", is_cause=rank == num_workers - 1)
        return (weights**2).sum()

    build = make_build(refuse_at_two, on_build=note_build)
    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=4, batch_size=2, learning_rate=0.1)
    run = make_run(replace(context, train_workers=num_workers))
    with pytest.raises(ParameterRefused, match=f"^the sample s{num_workers - 1} cannot be prepared$"):
        train_on_ray(run, partial, optimizer, build, files=("w.pt",))
    assert partial.list_finished() == set() and tried.read_text() == "once\n" * num_workers


@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_of_several_workers_the_one_whose_samples_are_at_fault_is_told(
    context: Context, tmp_path: Path, what: str
) -> None:
    def break_on_the_second(weights: torch.Tensor, step: int) -> torch.Tensor:
        broken = weights * float("nan") if what == "loss" else (weights - weights).sqrt()
        return (broken if (torch.distributed.get_rank(), step) == (1, 1) else weights).sum()

    build = make_build(break_on_the_second, batch="samples of worker {rank}")
    partial, optimizer = make_partial(tmp_path), OptimizerRecipe(num_steps=4, batch_size=2, learning_rate=0.1)
    run = make_run(replace(context, train_workers=2))
    with pytest.raises(NotFiniteError, match=rf"step 2: the {what} came to (nan|inf).*samples of worker 1"):
        train_on_ray(run, partial, optimizer, build, files=("w.pt",))
    assert partial.list_finished() == set()


def test_checkpoints_come_by_time_and_the_dearer_one_is_the_longer_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    saving, due = Saving(make_partial(tmp_path)), []
    for cost in (1, 10, 0):
        waited = 0
        while not saving.choose(done=False)[0]:
            now, waited = now + 1, waited + 1
        due.append(waited)
        with saving.measure():
            now += cost
    assert due == [20, 20, 200]
    assert saving.choose(done=True) == (True, False)


@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_a_training_that_fails_says_on_which_worker_and_how_in_its_first_line(context: Context, tmp_path: Path) -> None:
    def refuse() -> None:
        raise ValueError("these weights are of another model")

    build = make_build(lambda weights, step: (weights**2).sum(), on_build=refuse)
    optimizer = OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    with pytest.raises(TrainingFailed, match=r"^training failed on worker 0 .*these weights are of another model$"):
        train_on_ray(make_run(context), make_partial(tmp_path), optimizer, build, files=("w.pt",))
