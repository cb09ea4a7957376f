"""The bridge: what Prefect's server says of a stage whose body runs on a Ray worker."""

import os
import signal
import time
from pathlib import Path

import pytest
import ray
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from tasks.engine.on_ray import run_on_ray

pytestmark = pytest.mark.usefixtures("small_ray", "prefect_server")


def test_a_killed_worker_is_tried_again_by_prefect_and_its_log_reaches_prefect(tmp_path: Path) -> None:
    def body() -> int:
        get_run_logger().info("said by the worker")
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 7

    @task(retries=2, retry_delay_seconds=0)
    def heavy() -> int:
        return run_on_ray(body)

    @flow
    def story():
        state = heavy(return_state=True)
        return state, state.result()

    flow_state = story(return_state=True)
    state, result = flow_state.result()
    assert result == 7
    with get_client(sync_client=True) as client:
        assert state.state_details.task_run_id is not None
        run = client.read_task_run(state.state_details.task_run_id)
        assert run.flow_run_id is not None
        assert (run.run_count, run.state_name) == (2, "Completed")
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.flow_run_id]))
        assert "said by the worker" in wait_for_log(client, wanted)


def test_a_time_limit_ends_the_work_and_frees_the_worker() -> None:
    def sleeps() -> None:
        time.sleep(60)

    @task(timeout_seconds=2)
    def heavy() -> None:
        run_on_ray(sleeps, num_cpus=4)

    @flow
    def waits():
        future = heavy.submit()
        future.wait()
        return future.state.name

    started = time.monotonic()
    assert waits() == "TimedOut"
    assert time.monotonic() - started < 30
    end = time.monotonic() + 20
    while ray.available_resources().get("CPU", 0) < 4:
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for_log(client, wanted: LogFilter) -> list[str]:
    end = time.monotonic() + 15
    while True:
        messages = [log.message for log in client.read_logs(wanted)]
        if "said by the worker" in messages or time.monotonic() > end:
            return messages
        time.sleep(0.3)
