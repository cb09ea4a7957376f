"""A run that has nothing to work on, in the folder of documents or in the store, fails with the reason in one line, and
without a traceback."""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.settings import PREFECT_API_URL

from flows.options import Knowledge
from flows.pretrain_base import pretrain_base
from flows.re_evaluate import re_evaluate
from flows.rebuild_memory import rebuild_memory
from flows.synth_and_train import synth_and_train
from tasks.engine.attempts import SecondsByStage
from tasks.engine.context import ParameterRefused, RunRef
from tasks.engine.stage import stage_task
from tasks.evaluation.ending import ENGINE_LOGGERS, end_with_explanation

REPOSITORY = Path(__file__).parents[2]
NONE_TRAINED = r"no encoder for backbone tiny \(\w+\) in \S+/store; run synth-and-train with this recipe and backbone"
NO_ITEM = r"knowledge: corpus '\S+/documents' holds no usable item; 0 bad rows"
NO_FILES = r"the files of okvqa are not at \S+/benchmarks/okvqa. It should hold"
SHIPPED = {"encoders": ["tiny-encoder"]}
DOCUMENTS = {"knowledge": "documents"}

REFUSED: dict[str, tuple[Flow[..., Any], dict[str, Any], str]] = {
    "documents without an item": (synth_and_train, DOCUMENTS, NO_ITEM),
    "no encoder to rebuild a memory with": (rebuild_memory, {}, NONE_TRAINED),
    "no latest encoder": (re_evaluate, {}, NONE_TRAINED),
    "no encoder at all": (re_evaluate, {"encoders": ["all"]}, NONE_TRAINED),
    "no encoder of this name": (re_evaluate, {"encoders": ["0123abcd"]}, "encoders: 0123abcd holds no encoder"),
    "no files of a benchmark": (re_evaluate, {**SHIPPED, "benchmarks": ["okvqa"]}, NO_FILES),
    "an evaluation of documents without an item": (re_evaluate, SHIPPED | DOCUMENTS, NO_ITEM),
}  # fmt: skip


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    folder = tmp_path / "documents"
    folder.mkdir()
    return folder


@pytest.fixture
def tracebacks() -> Iterator[list[str]]:
    """What Prefect logs with a traceback."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(record.getMessage())

    found: list[str] = []
    handler = Handler()
    for name in ENGINE_LOGGERS:
        logging.getLogger(name).addHandler(handler)
    yield found
    for name in ENGINE_LOGGERS:
        logging.getLogger(name).removeHandler(handler)


def fill_in(parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    return parameters | ({"knowledge": str(folder)} if "knowledge" in parameters else {})


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_fails_with_the_reason_in_one_line_and_nothing_logs_a_traceback(
    empty: Path, prefect_server: None, small_ray: None, case: str, tracebacks: list[str]
) -> None:
    flow, parameters, reason = REFUSED[case]
    state = flow(**fill_in(parameters, empty), return_state=True)
    assert state.is_failed()
    assert_one_line(state.message, reason)
    assert tracebacks == []


@pytest.mark.usefixtures("prefect_server")
def test_a_stage_out_of_time_fails_with_the_setting_in_one_line_and_nothing_logs_a_traceback(
    run: RunRef, tracebacks: list[str]
) -> None:
    @stage_task(name="judge-qa", retries=0)
    def judge(run: RunRef) -> None:
        time.sleep(60)

    @flow
    @end_with_explanation
    def story(run: RunRef) -> None:
        judge(run)

    limits = SecondsByStage.read("judge-qa=1")
    state = story(replace(run, context=replace(run.context, stage_seconds=limits)), return_state=True)
    assert state.is_failed()
    assert_one_line(state.message, "judge-qa took longer than 1 s, which COMEM_STAGE_SECONDS allows")
    assert tracebacks == []


@pytest.mark.parametrize("case", ["documents without an item", "no latest encoder"])
def test_a_deployment_s_run_fails_with_the_reason_and_no_traceback(
    empty: Path, prefect_server: None, small_ray: None, case: str
) -> None:
    """The run's process is the one that a worker starts."""
    flow, parameters, reason = REFUSED[case]
    with get_client(sync_client=True) as client:
        created = client.create_flow_run(flow, parameters=fill_in(parameters, empty))
        entrypoint = f"flows/{flow.name.replace('-', '_')}.py:{flow.name.replace('-', '_')}"
        started = os.environ | {"PREFECT__FLOW_ENTRYPOINT": entrypoint}
        started |= {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "prefect.engine", str(created.id)]
        ended = subprocess.run(command, env=started, cwd=REPOSITORY, capture_output=True, text=True)
        state = client.read_flow_run(created.id).state
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[created.id])))
    assert state is not None and state.is_failed()
    said = assert_one_line(state.message, reason)
    assert any(said in log.message for log in logs)
    assert not [log.message for log in logs if "Traceback" in log.message] and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "flow", [synth_and_train, rebuild_memory, re_evaluate, pretrain_base], ids=lambda flow: flow.name
)
def test_every_flow_refuses_a_context_that_cannot_be_in_one_line(
    empty: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch, tracebacks: list[str], flow: Flow
) -> None:
    monkeypatch.setenv("COMEM_MIN_FREE_DISK_MB", str(10**12))
    state = flow(return_state=True)
    assert state.is_failed() and "disk" in (state.message or "")
    assert tracebacks == []


def test_a_planned_evaluation_of_nothing_is_refused_as_well(empty: Path, small_ray: None) -> None:
    with pytest.raises(ParameterRefused, match=NONE_TRAINED):
        re_evaluate.fn(plan=True)


def test_outside_prefect_the_reason_is_an_error(empty: Path, small_ray: None) -> None:
    with pytest.raises(ValueError, match=r"knowledge: corpus .* holds no usable item"):
        synth_and_train.fn(knowledge=Knowledge(corpus=str(empty)), plan=True)


def assert_one_line(message: str | None, reason: str) -> str:
    """Check that a message begins with the reason and is one line; return it."""
    said = message or ""
    assert re.match(reason, said) and "\n" not in said
    return said
