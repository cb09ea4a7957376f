"""Every function given to a worker is defined inside its test: workers do not see the tests folder."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray

from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray, map_shards, release_workers, rest_workers, run_on_ray, start_workers
from tasks.engine.workers import Progress, WorkerDied, Workers

pytestmark = pytest.mark.usefixtures("small_ray")
TWO = Workers(num_actors=2)


@pytest.fixture(autouse=True)
def nothing_is_left_held():
    yield
    release_workers()
    assert_free()


def assert_free(cpus: float = 4, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while ray.available_resources().get("CPU", 0) < cpus:
        assert time.monotonic() < end, f"still held: {ray.available_resources()}"
        time.sleep(0.1)


def test_each_worker_loads_once_and_every_shard_is_done_once(tmp_path: Path) -> None:
    def make_worker():
        (tmp_path / f"load-{os.getpid()}-{time.time_ns()}").touch()

        def work(number: int) -> int:
            with (tmp_path / f"shard-{number}").open("a") as file:
                file.write("x")
            return number * 2

        return work

    heard: list[Progress] = []
    shards = {f"part-{number}": number for number in range(8)}
    map_shards(make_worker, shards, workers=TWO, on_done=heard.append)
    results = map_shards(make_worker, shards, workers=TWO, on_done=heard.append)  # by workers that have loaded
    assert results == {f"part-{number}": number * 2 for number in range(8)}
    assert len(list(tmp_path.glob("load-*"))) <= 2
    assert {path.read_text() for path in tmp_path.glob("shard-*")} == {"xx"}
    assert [progress.done for progress in heard] == [*range(1, 9)] * 2
    assert {(progress.total, progress.num_workers) for progress in heard} == {(8, 2)}


def test_a_signal_to_the_group_of_this_process_reaches_its_own_handler_and_not_ray() -> None:
    """Prefect cancels a run so; Ray must live on until workers have written what they have."""
    groups = {each.name(): os.getpgid(each.pid) for each in psutil.Process().children(recursive=True)}
    assert os.getpgrp() not in {groups["raylet"], groups["gcs_server"]}
    assert not getattr(signal.getsignal(signal.SIGTERM), "__module__", "").startswith("ray")
    with subprocess.Popen(["sleep", "1"], preexec_fn=lambda: None) as other:
        assert os.getpgid(other.pid) == os.getpgrp()


def test_a_killed_worker_is_replaced_and_its_shard_done_again(tmp_path: Path) -> None:
    def make_worker():
        def work(name: str) -> int:
            if name == "part-1" and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return os.getpid()

        return work

    shards = {f"part-{number}": f"part-{number}" for number in range(4)}
    assert set(map_shards(make_worker, shards, workers=TWO)) == set(shards)
    assert (tmp_path / "died").exists()


def test_a_shard_that_always_kills_its_worker_is_named_and_others_are_kept(tmp_path: Path) -> None:
    def make_worker():
        def work(name: str) -> None:
            if name == "part-2":
                os.kill(os.getpid(), signal.SIGKILL)
            (tmp_path / name).touch()

        return work

    shards = {f"part-{number}": f"part-{number}" for number in range(3)}
    with pytest.raises(WorkerDied, match="shard part-2 lost its worker 2 times"):
        map_shards(make_worker, shards, workers=Workers(num_actors=1, max_deaths=2))
    assert {path.name for path in tmp_path.iterdir()} == {"part-0", "part-1"}


def test_an_error_of_the_work_itself_is_raised_as_it_is_and_not_tried_again(tmp_path: Path) -> None:
    def make_worker():
        def work(name: str) -> None:
            (tmp_path / str(time.time_ns())).touch()
            raise KeyError(f"no image for {name}")

        return work

    with pytest.raises(KeyError, match="no image for x") as caught:
        map_shards(make_worker, {"part-7": "x"}, workers=TWO)
    assert "while a worker processed shard part-7" in caught.value.__notes__
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interruption_frees_what_the_workers_held() -> None:
    def make_worker():
        return lambda seconds: time.sleep(seconds)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_shards(make_worker, {"quick": 0, "slow": 60}, workers=TWO, on_done=interrupt)
    assert_free()


def test_kept_workers_give_way_to_a_function_that_needs_their_cpus() -> None:
    all_four = Workers(num_actors=4)
    start_workers(all_four, modules=("json",))
    assert_free(cpus=0)
    assert run_on_ray(os.getpid, num_cpus=4) != os.getpid()


def test_kept_workers_stay_beside_a_function_that_fits_beside_them() -> None:
    def make_worker():
        return lambda name: os.getpid()

    one = Workers(num_actors=1)
    before = map_shards(make_worker, {"a": 0}, workers=one)
    run_on_ray(time.sleep, 1.5)  # longer than the wait for a result is looked at
    assert map_shards(make_worker, {"a": 0}, workers=one) == before


def test_a_stage_of_fewer_workers_uses_those_that_are_up() -> None:
    def make_worker():
        return lambda name: os.getpid()

    start_workers(TWO)
    shards = {f"part-{number}": number for number in range(4)}
    up = set(map_shards(make_worker, shards, workers=TWO).values())
    assert set(map_shards(make_worker, shards, workers=Workers(num_actors=1)).values()) < up
    assert set(map_shards(make_worker, shards, workers=TWO).values()) == up


def test_workers_stay_through_training_and_let_go_of_what_they_held(context: Context, tmp_path: Path) -> None:
    def make_worker():
        (tmp_path / f"made-{time.time_ns()}").touch()
        return lambda name: os.getpid()

    def forget() -> None:
        (tmp_path / f"forgot-{os.getpid()}").touch()

    one = Workers(num_actors=1)
    before = map_shards(make_worker, {"a": 0}, workers=one)
    rest_workers(context, forget=forget)
    assert map_shards(make_worker, {"a": 0}, workers=one) == before
    assert (tmp_path / f"forgot-{before['a']}").exists()
    assert len(list(tmp_path.glob("made-*"))) == 2
    rest_workers(replace(context, train_workers=5), forget=forget)  # more than there is beside the idle one
    assert map_shards(make_worker, {"a": 0}, workers=one) != before


def test_two_stages_at_once_do_not_wait_for_each_other_for_ever() -> None:
    def make_worker():
        return lambda number: number + 1

    results = []

    def stage(workers: Workers) -> None:
        results.append(map_shards(make_worker, {"a": 1, "b": 2}, workers=workers))

    threads = [threading.Thread(target=stage, args=(Workers(num_actors=2, cpus=2 - n),)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [{"a": 2, "b": 3}] * 2


def test_a_worker_has_as_many_threads_as_cpus() -> None:
    def make_worker():
        return lambda name: os.environ["OMP_NUM_THREADS"]

    assert map_shards(make_worker, {"a": 0}, workers=Workers(num_actors=1, cpus=2)) == {"a": "2"}


def test_a_function_on_ray_raises_its_own_error_and_a_killed_one_says_so() -> None:
    def fails() -> None:
        raise KeyError("gold_item_id")

    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(KeyError, match="gold_item_id"):
        run_on_ray(fails)
    with pytest.raises(WorkerDied, match="the worker of dies died"):
        run_on_ray(dies)


def test_functions_that_end_at_once_do_not_end_the_caller() -> None:
    for _ in range(8):  # cancelling what had just completed once crashed the calling process, now and then
        assert run_on_ray(abs, -1) == 1


def test_a_local_ray_listens_to_this_machine_only() -> None:
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {each.laddr.ip for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in found} == {"127.0.0.1"}


def test_more_than_the_cluster_has_is_refused_by_name(tmp_path: Path, make_context) -> None:
    greedy = make_context(tmp_path, gpus_per_actor=4)
    with pytest.raises(ValueError, match="asks for 4 GPU, but Ray has 0"), join_ray(greedy):
        pass
