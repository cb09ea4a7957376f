"""A run whose folder of documents has no item: it fails with the reason in one line, and without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.settings import PREFECT_API_URL

from flows.options import Knowledge
from flows.synth_and_train import synth_and_train

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    folder = tmp_path / "documents"
    folder.mkdir()
    return folder


def test_a_deployment_s_run_fails_with_the_reason_and_no_traceback(
    empty: Path, prefect_server: None, small_ray: None
) -> None:
    """The run's process is the one that a worker starts."""
    with get_client(sync_client=True) as client:
        created = client.create_flow_run(synth_and_train, parameters={"knowledge": str(empty)})
        started = os.environ | {"PREFECT__FLOW_ENTRYPOINT": "flows/synth_and_train.py:synth_and_train"}
        started |= {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "prefect.engine", str(created.id)]
        ended = subprocess.run(command, env=started, cwd=REPOSITORY, capture_output=True, text=True)
        state = client.read_flow_run(created.id).state
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[created.id])))
    assert state is not None and state.is_failed()
    reason = f"knowledge: corpus '{empty}' holds no usable item; 0 bad rows"
    assert (state.message or "").startswith(reason) and "\n" not in (state.message or "")
    assert any(reason in log.message for log in logs)
    assert not [log.message for log in logs if "Traceback" in log.message] and "Traceback" not in ended.stderr


def test_outside_prefect_the_reason_is_an_error(empty: Path, small_ray: None) -> None:
    with pytest.raises(ValueError, match=r"knowledge: corpus .* holds no usable item"):
        synth_and_train.fn(knowledge=Knowledge(corpus=str(empty)), plan=True)
