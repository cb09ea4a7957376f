"""`python -m flows.local` as a user has it: real processes, a real server, in a folder of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun, StateType

from flows.local import deploying, service
from flows.local.commands import find_or_create
from flows.local.layout import HOST, Layout, Note, Process
from flows.local.processes import StartError, choose_port, end_all, is_port_free, list_processes, spawn, wait_until
from flows.local.runs import list_unfinished
from flows.local.service import choose_run_limit

REPOSITORY = Path(__file__).parents[2]


def make_project(folder: Path) -> Layout:
    shutil.copytree(Path(__file__).parent / "project", folder)
    shutil.copy(REPOSITORY / "prefect.toml", folder)
    return Layout(folder)


def user_environment(**settings: str) -> dict[str, str]:
    """The environment of a shell in which nobody has thought of Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COMEM_"))}
    return kept | {"COMEM_MIN_FREE_MEMORY_MB": "100", "COMEM_NUM_ACTORS": "1"} | settings


def local(layout: Layout, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.local", *arguments],
        cwd=layout.root,
        env=user_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_local(layout: Layout, *arguments: str, **settings: str) -> tuple[int, str]:
    process = local(layout, *arguments, **settings)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def prefect(layout: Layout, *arguments: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "prefect"), *arguments]
    done = subprocess.run(command, cwd=layout.root, env=user_environment(), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def read_until(process: subprocess.Popen[str], words: str) -> str:
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}, but:\n{said}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    layout = make_project(tmp_path_factory.mktemp("served") / "a project")
    code, output = run_local(layout, "serve")
    assert code == 0, output
    assert "prefect deployment run synth-and-train" in output
    yield layout
    code, output = run_local(layout, "stop")
    assert code == 0, output
    assert "everything has ended" in output
    assert list_processes(layout) == []
    assert run_local(layout, "stop") == (0, "[    0 s] nothing is up\n")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Layout]:
    layout = make_project(tmp_path / "project")
    yield layout
    end_all(layout, grace=0)


def note_of(layout: Layout) -> Note:
    note = layout.read_note()
    assert note is not None
    return note


def test_scheduled_runs_exist(served: Layout) -> None:
    end = time.monotonic() + 90
    with SyncPrefectClient(note_of(served).api_url) as client:
        while not (runs := list_unfinished(client, StateType.SCHEDULED)):
            assert time.monotonic() < end, "the scheduler made no run: see the pins of fastapi and sqlalchemy"
            time.sleep(1)
    assert all(run.auto_scheduled for run in runs)


def test_a_switched_schedule_keeps_its_parameters_when_it_is_deployed_again(served: Layout) -> None:
    weekly = "re-evaluate/weekly"

    def read_schedule() -> tuple[bool, dict[str, Any]]:
        with SyncPrefectClient(note_of(served).api_url) as client:
            [schedule] = client.read_deployment_by_name(weekly).schedules
        return schedule.active, schedule.parameters

    code, output = run_local(served, "schedule", "off")
    assert code == 0 and output == f"{weekly} is off\n"
    assert read_schedule() == (False, {})
    code, output = run_local(served, "schedule", "on", weekly, "-p", "limit=3")
    assert code == 0 and 'is on (0 4 * * 1, UTC, with {"limit": 3})' in output
    declared = served.root / "prefect.yaml"
    declared.write_text(declared.read_text() + "\n# changed, so that it is deployed again\n")
    code, output = run_local(served, "serve")
    assert code == 0 and "deploying what prefect.yaml declares" in output
    assert read_schedule() == (True, {"limit": 3})
    for name, said in (("synth-and-train/other", "has no schedule"), ("no/such", "no deployment is named 'no/such'")):
        code, output = run_local(served, "schedule", "on", name)
        assert code == 2 and said in output


def test_a_bare_flow_name_runs_its_default_deployment(served: Layout) -> None:
    code, output = prefect(served, "deployment", "run", "re-evaluate", "--watch")
    assert code == 0, output
    assert "re-evaluate/weekly" in output
    code, output = prefect(served, "deployment", "run", "synth-and-train")
    assert code == 0, output
    assert "synth-and-train/tiny-cpu" in output  # tagged default; there is another one
    code, output = prefect(served, "deployment", "run", "no-such-flow")
    assert code != 0
    assert "Expected format" in output


def test_a_demo_follows_a_run_with_its_own_parameters_and_no_other(served: Layout) -> None:
    said: list[str] = []
    with SyncPrefectClient(note_of(served).api_url) as client:

        def find(**parameters: Any) -> FlowRun:
            return find_or_create(client, "synth-and-train/other", said.append, parameters)

        client.update_work_pool("comem", WorkPoolUpdate(is_paused=True))  # the runs stay as they are
        try:
            first, other = find(), find(limit=3)
            assert first.id != other.id and other.parameters["limit"] == 3
            assert (
                f"the run {first.name} is still under way with other parameters: {json.dumps(first.parameters)}" in said
            )
            assert (find(limit=3).id, find().id) == (other.id, first.id)
            assert f"following the run {other.name}, which is still under way" in said
            for run in (first, other):
                client.delete_flow_run(run.id)
        finally:
            client.update_work_pool("comem", WorkPoolUpdate(is_paused=False))


def test_a_variable_of_a_deployment_or_a_run_reaches_the_flow_and_its_workers(served: Layout) -> None:
    run = ("deployment", "run", "synth-and-train/other", "--job-variable", 'env={"MARK": "run"}', "--watch")
    code, output = prefect(served, *run)
    assert code == 0, output
    of_flow, of_worker, mark = (served.root / ".comem" / "seen-1.txt").read_text().split()
    assert (of_flow, of_worker, mark) == ("3", "3", "run")


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        ({}, None),
        ({"COMEM_DEVICE": "cpu"}, None),
        ({"COMEM_DEVICE": "cuda"}, 1),
        ({"COMEM_DEVICE": "cuda", "RAY_ADDRESS": "10.0.0.1:6379"}, None),
        ({"COMEM_DEVICE": "cuda", "COMEM_MAX_RUNS": "4"}, 4),
        ({"COMEM_MAX_RUNS": "2"}, 2),
    ],
)
def test_runs_that_each_take_a_gpu_go_one_after_the_other(environ: dict[str, str], limit: int | None) -> None:
    assert choose_run_limit(environ) == limit


@pytest.mark.parametrize("stated", ["0", "-1", "two", "1.5"])
def test_a_number_of_runs_that_is_none_is_refused(stated: str) -> None:
    with pytest.raises(StartError, match=f"COMEM_MAX_RUNS is '{stated}'; expected a number of at least 1"):
        choose_run_limit({"COMEM_MAX_RUNS": stated})


def test_a_wrong_number_of_runs_is_refused_before_a_server_is_started(project: Layout) -> None:
    code, output = run_local(project, "serve", COMEM_MAX_RUNS="none")
    assert code == 2 and output == "error: COMEM_MAX_RUNS is 'none'; expected a number of at least 1\n"


@pytest.mark.slow
def test_a_worker_with_a_limit_does_one_run_after_the_other(project: Layout) -> None:
    code, output = run_local(project, "serve", COMEM_MAX_RUNS="1")
    assert code == 0 and "1 run at a time (COMEM_MAX_RUNS)" in output, output
    seconds = ("--job-variable", 'env={"SHARD_SECONDS": "0.5"}')
    for number in ("2", "3"):
        code, output = prefect(
            project, "deployment", "run", "synth-and-train/other", "-p", f"num_shards={number}", *seconds
        )
        assert code == 0, output
    end, running = time.monotonic() + 240, set()
    with SyncPrefectClient(note_of(project).api_url) as client:
        while True:
            runs = [run for run in client.read_flow_runs() if not run.auto_scheduled]
            running.add(sum(run.state_type == StateType.RUNNING for run in runs))
            if all(run.state is not None and run.state.is_final() for run in runs):
                break
            assert time.monotonic() < end
            time.sleep(0.3)
    assert running <= {0, 1} and [run.state_type for run in runs] == [StateType.COMPLETED] * 2


def test_several_deployments_of_which_none_is_the_default_are_named() -> None:
    from types import SimpleNamespace

    from flows.deployment_names import _complete_name

    found = [SimpleNamespace(name=name, tags=[]) for name in ("b", "a")]
    with pytest.raises(ValueError, match="choose one of: story/a, story/b"):
        _complete_name("story", found)
    assert _complete_name("story", found[:1]) == "story/b"
    assert _complete_name("story", []) == "story"


def test_a_demo_and_a_deployment_s_run_refuse_the_same_in_the_same_words(served: Layout, project: Layout) -> None:
    words = "error: re-evaluate cannot run with these parameters:\n  - limit: found 0; expected 1 or more\n"
    code, output = run_local(project, "demo", "--deployment", "re-evaluate/weekly", "-p", "limit=0")
    assert (code, output) == (2, words)  # before a server was started
    code, output = prefect(served, "deployment", "run", "re-evaluate", "-p", "limit=0")
    assert code == 2 and output.endswith(words) and "Traceback" not in output
    code, output = run_local(project, "demo", "--deployment", "re-evaluate/weekly", "-p", "limitt=3")
    assert code == 2 and "limitt: there is no such option; did you mean limit? The options are limit\n" in output


def test_serve_again_uses_what_is_up(served: Layout) -> None:
    before = note_of(served)
    code, output = run_local(served, "serve")
    assert code == 0, output
    assert "is running already" in output
    assert "the server has the deployments of prefect.yaml" in output
    assert note_of(served) == before
    code, output = run_local(served, "status")
    assert code == 0
    assert "worker: up" in output and f"pages of the store: {before.pages_url}" in output


def test_the_pages_of_the_store_are_served_and_runs_know_where(served: Layout) -> None:
    note = note_of(served)
    assert note.pages is not None and note.worker is not None and note.pages_url is not None
    page = served.root / ".comem" / "store" / "report" / "0f3c" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><title>Run 0f3c</title>")
    page.with_name("record.json").write_text("{}")
    wait_until(
        lambda: not is_port_free(note.pages_port or 0),
        process=note.pages,
        what="the server of pages",
        log=served.logs / "pages.log",
        seconds=60,
    )
    assert httpx.get(f"{note.pages_url}/report/0f3c/report.html").text == page.read_text()
    assert "Run 0f3c" in httpx.get(note.pages_url).text
    assert psutil.Process(note.worker.pid).environ()["COMEM_PAGES_URL"] == note.pages_url


def test_another_prefect_yaml_or_a_deployment_that_was_changed_is_deployed_again(served: Layout) -> None:
    declared = served.root / "prefect.yaml"
    as_it_was = declared.read_text()
    assert deploying.is_noted(served)
    declared.write_text(as_it_was + "# changed\n")
    assert not deploying.is_noted(served)
    declared.write_text(as_it_was)
    with SyncPrefectClient(note_of(served).api_url) as client:
        assert deploying.is_deployed(served, client)
        found = client.read_deployment_by_name("synth-and-train/other")
        client.update_deployment(found.id, DeploymentUpdate(description="changed by hand"))
        assert not deploying.is_deployed(served, client)
        client.update_deployment(found.id, DeploymentUpdate(description=found.description))


def test_an_unknown_deployment_is_refused_with_those_there_are_before_a_server_is_started(
    served: Layout, project: Layout
) -> None:
    for layout in (served, project):
        code, output = run_local(layout, "demo", "--deployment", "synth-and-train/huge")
        assert code == 2
        assert "the deployments are re-evaluate/weekly, synth-and-train/other, synth-and-train/tiny-cpu" in output
    server = note_of(served).server
    assert server is not None and server.is_alive()
    assert not project.logs.exists()


def test_a_run_goes_on_without_its_server_and_the_next_serve_takes_it_over(served: Layout) -> None:
    before, end = note_of(served), time.monotonic() + 120
    assert before.server is not None
    with SyncPrefectClient(before.api_url) as client:
        deployment = client.read_deployment_by_name("synth-and-train/tiny-cpu")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"num_shards": 80})
        while client.read_flow_run(run.id).state_type != StateType.RUNNING:
            assert time.monotonic() < end
            time.sleep(0.2)
    psutil.Process(before.server.pid).kill()
    code, output = run_local(served, "serve")
    assert code == 0 and "has ended without its runs, which go on" in output, output
    after = note_of(served)
    assert (after.port, after.worker, after.pages) == (before.port, before.worker, before.pages)
    with SyncPrefectClient(after.api_url) as client:
        while not (state := client.read_flow_run(run.id).state) or not state.is_final():
            assert time.monotonic() < end
            time.sleep(0.2)
    assert state.is_completed()


def test_a_port_that_is_taken_is_a_clear_error_and_nothing_is_left(project: Layout) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = run_local(project, "serve", COMEM_PORT=str(port))
    assert code == 2
    assert f"COMEM_PORT is {port}: that port is taken" in output
    assert list_processes(project) == []


def test_a_port_that_cannot_be_is_refused_before_anything_starts(project: Layout) -> None:
    code, output = run_local(project, "serve", COMEM_PORT="-1")
    assert code == 2 and "COMEM_PORT is '-1'; expected a port from 1 to 65535" in output and "starting" not in output


@pytest.mark.parametrize("port", ["", "0", "-1", "70000", "many"])
def test_a_port_is_a_number_that_a_port_can_have(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMEM_PORT", port)
    with pytest.raises(StartError, match="expected a port from 1 to 65535"):
        choose_port()


def test_an_unknown_variable_is_refused_before_anything_starts(project: Layout) -> None:
    code, output = run_local(project, "demo", COMEM_BATCHSIZE="4")
    assert code == 2 and "did you mean COMEM_BATCH_SIZE?" in output and "starting" not in output


def test_without_a_disk_to_write_on_nothing_is_started(project: Layout) -> None:
    code, output = run_local(project, "demo", COMEM_MIN_FREE_DISK_MB=str(10**9))
    assert code == 2
    assert "MB are free on the disk" in output
    assert "starting" not in output


def test_projects_that_start_at_once_take_ports_of_their_own() -> None:
    def take_port(_: int) -> socket.socket:
        with service.hold_ports():
            port = choose_port()
            time.sleep(0.2)  # a server takes seconds from here to its port
            taken = socket.socket()
            taken.bind((HOST, port))
            taken.listen()
        return taken

    with ThreadPoolExecutor(3) as at_once:
        taken = list(at_once.map(take_port, range(3)))
    assert len({each.getsockname()[1] for each in taken}) == 3
    for each in taken:
        each.close()


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    code, output = run_local(Layout(tmp_path), "serve")
    assert (code, "has no prefect.yaml" in output) == (2, True)


def test_a_process_that_ends_while_it_starts_shows_the_end_of_its_log(project: Layout) -> None:
    command = [sys.executable, "-c", "print('no room at the inn'); raise SystemExit(3)"]
    process = spawn(command, layout=project, log="server.log", api_url="")
    with pytest.raises(StartError, match=r"ended while it started(.|\n)*no room at the inn"):
        log = project.logs / "server.log"
        wait_until(lambda: False, process=process, what="the server", log=log, seconds=20)


def test_a_note_of_a_process_that_has_ended_or_whose_id_was_given_anew_counts_for_nothing(project: Layout) -> None:
    current = Process.find_current()
    project.write_note(Note(port=1, server=current, users=[current, Process(current.pid, 5.0)]))
    assert note_of(project).users == [current]
    project.write_note(Note(port=1, server=Process(current.pid, 5.0)))
    assert project.read_note() is None


@pytest.mark.slow
def test_a_demo_shows_its_stages_and_ends_all_and_the_next_one_reuses(project: Layout) -> None:
    code, output = run_local(project, "demo")
    assert code == 0, output
    for words in ("flow run", "the run has begun", "filter: made 6 rows in ", "what to do next:"):
        assert words in output
    assert "Completed" not in output and "deployment step" not in output  # what goes as it should needs no word
    assert list_processes(project) == []
    code, output = run_local(project, "demo")
    assert code == 0, output
    assert "same recipe, same inputs, 6 shards verified" in output
    assert list_processes(project) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_process_and_the_next_demo_continues(project: Layout, number: signal.Signals) -> None:
    process = local(project, "demo", SHARD_SECONDS="8")
    read_until(process, " of 6 shards")
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    said = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
    for each in said.values():
        assert (f"{each}: cancelling the run" in output) == (each == said[number])
    assert "`make demo` again continues" in output
    assert list_processes(project) == []
    code, output = run_local(project, "demo")
    assert code == 0, output
    assert "of 6 shards were there" in output
    assert_every_shard_was_made_once(project)


@pytest.mark.slow
def test_ctrl_c_while_things_start_leaves_no_process(project: Layout) -> None:
    process = local(project, "demo")
    read_until(process, "starting the Prefect server")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert list_processes(project) == []


@pytest.mark.slow
def test_a_second_ctrl_c_kills_at_once(project: Layout) -> None:
    process = local(project, "demo", SHARD_SECONDS="3")
    read_until(process, " of 6 shards")
    process.send_signal(signal.SIGINT)
    read_until(process, "Ctrl-C again kills")
    time.sleep(0.3)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert list_processes(project) == []


@pytest.mark.slow
def test_after_kill_9_of_everything_the_next_demo_says_crashed_and_continues(project: Layout) -> None:
    process = local(project, "demo", SHARD_SECONDS="3")
    read_until(process, " of 6 shards")
    process.kill()
    end_all(project, grace=0)
    process.communicate(timeout=20)
    code, output = run_local(project, "demo")
    assert code == 0, output
    assert "was killed: marked Crashed" in output
    assert "of 6 shards were there" in output
    assert_every_shard_was_made_once(project)
    assert list_processes(project) == []


@pytest.mark.slow
def test_after_kill_9_of_the_demo_alone_the_next_one_follows_its_run_and_ends_all(project: Layout) -> None:
    process = local(project, "demo", SHARD_SECONDS="3")
    read_until(process, " of 6 shards")
    process.kill()
    process.communicate(timeout=20)
    code, output = run_local(project, "demo")
    assert code == 0, output
    assert "which is still under way" in output
    assert_every_shard_was_made_once(project)
    assert list_processes(project) == []


@pytest.mark.slow
def test_a_demo_leaves_the_server_to_a_run_that_somebody_else_asked_for(project: Layout) -> None:
    process = local(project, "demo", SHARD_SECONDS="3")
    read_until(process, " of 6 shards")
    longer = ("--job-variable", 'env={"SHARD_SECONDS": "30"}')
    code, output = prefect(project, "deployment", "run", "synth-and-train/other", *longer)
    assert code == 0, output
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "not this demo's, and under way" in output and "`make stop` ends it" in output
    with SyncPrefectClient(note_of(project).api_url) as client:
        [other] = [run for run in client.read_flow_runs() if "demo" not in run.tags and not run.auto_scheduled]
    assert other.state is not None and not other.state.is_final()
    code, output = run_local(project, "stop")
    assert code == 0 and list_processes(project) == []


def assert_every_shard_was_made_once(project: Layout) -> None:
    finished = (project.root / ".comem" / "finished_shards.txt").read_text().split()
    assert sorted(finished) == [f"part-{number:05d}" for number in range(6)]


def test_a_run_asked_for_while_nothing_is_up_says_what_to_do_and_nothing_else(tmp_path: Path) -> None:
    layout = make_project(tmp_path / "project")
    for name in ("greet", "greet/once"):
        code, said = prefect(layout, "deployment", "run", name)
        assert code == 2 and said == "error: no server is up, so no run can be created; run `make serve` first\n"
