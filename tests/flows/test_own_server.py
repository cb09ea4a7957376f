"""A Prefect server of the user's own: found as Prefect finds it, checked, and used instead of a local one."""

import json
import os
import socket
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings
from prefect.states import Running

from flows.local.commands import status, stop
from flows.local.layout import MARK, Layout, Note, find_asked_server
from flows.local.processes import FLOW_RUN, StartError, list_processes
from flows.local.runs import DEMO_TAG, list_others, mark_crashed
from flows.local.servers import check_server, prepare_pool
from flows.local.service import find_pool_to_work, hold_lock, start

PROJECT = Path(__file__).parent / "project"
KEY = "pnu_of_a_test"


@pytest.fixture(scope="module")
def api_url(prefect_server: None) -> str:
    found = PREFECT_API_URL.value()
    assert found is not None
    return found


@contextmanager
def guard(api_url: str, *, version: str | None = None) -> Iterator[str]:
    """A server that lets only those with the key through to the real one, without websockets; yields its address."""

    class Guard(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = 401, b'{"detail": "Unauthorized"}'
            if self.headers.get("Authorization") == f"Bearer {KEY}":
                sent = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
                asked = httpx.request(
                    self.command, api_url + self.path.removeprefix("/api"), content=body, headers=sent
                )
                status, said = asked.status_code, asked.content
                if version and self.path.endswith("/admin/version"):
                    said = json.dumps(version).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Guard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_server_is_found_where_prefect_itself_finds_it(tmp_path: Path) -> None:
    url, home = "http://some.host:4200/api", tmp_path / "home"
    home.mkdir()
    environ = {"PREFECT_HOME": str(home), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    profiles = f'[profiles.other]\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'
    (home / "profiles.toml").write_text(f'active = "other"\n{profiles}')
    assert find_asked_server(tmp_path, environ) is None
    assert find_asked_server(tmp_path, environ | {"PREFECT_API_URL": url + "/"}) == url
    assert find_asked_server(tmp_path, environ | {"PREFECT_PROFILE": "mine"}) == url
    (home / "profiles.toml").write_text(f'active = "mine"\n{profiles}')
    assert find_asked_server(tmp_path, environ) == url
    code = "from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value())"
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert said.stdout.strip() == url, said.stderr
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://other.host:4200/api"\n')
    assert find_asked_server(tmp_path, environ) == "http://other.host:4200/api"


def test_a_right_key_is_accepted_and_a_wrong_one_refused_with_the_variables_that_hold_keys(api_url: str) -> None:
    with guard(api_url) as guarded:
        with temporary_settings({PREFECT_API_KEY: KEY}):
            check_server(guarded)
        for wrong in ("pnu_other", None):
            with (
                temporary_settings({PREFECT_API_KEY: wrong}),
                pytest.raises(StartError, match=r"refuses the key \(401\). Set PREFECT_API_KEY"),
            ):
                check_server(guarded)


def test_a_server_of_another_major_version_is_refused_with_both_versions(api_url: str) -> None:
    with (
        guard(api_url, version="4.1.0") as guarded,
        temporary_settings({PREFECT_API_KEY: KEY}),
        pytest.raises(StartError, match=r"has version 4\.1\.0; expected 3\.x"),
    ):
        check_server(guarded)


def test_an_address_without_a_server_or_without_its_api_is_refused(api_url: str) -> None:
    with pytest.raises(StartError, match=r"no Prefect server answers at http://127.0.0.1:1/api"):
        check_server("http://127.0.0.1:1/api")
    with pytest.raises(StartError, match=r"no Prefect API answers at \S+ \(status 404\). PREFECT_API_URL is the addr"):
        check_server(api_url.removesuffix("/api"))


def test_a_missing_pool_of_ones_own_server_is_not_made_but_said_how_to_make(api_url: str) -> None:
    with pytest.raises(StartError, match=r"no work pool 'gpus'. Make it, .* work-pool create gpus --type process"):
        prepare_pool(api_url, "gpus", is_ours=False)
    assert prepare_pool(api_url, "gpus", is_ours=True) == "process"
    assert prepare_pool(api_url, "gpus", is_ours=False) == "process"


def test_a_pool_of_another_type_gets_no_worker_here_and_needs_the_folder_in_its_image(
    api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SyncPrefectClient(api_url) as client:
        client.create_work_pool(WorkPoolCreate(name="images", type="docker"))
    (tmp_path / "prefect.yaml").write_text((PROJECT / "prefect.yaml").read_text())
    layout, note, heard = Layout(tmp_path, asked=api_url), Note(port=0, server=None, url=api_url), []
    monkeypatch.setenv("COMEM_WORK_POOL", "images")
    monkeypatch.setenv("COMEM_PROJECT", str(tmp_path))
    with pytest.raises(StartError, match=r"images is not a process pool.* Set COMEM_PROJECT to the project's folder"):
        find_pool_to_work(layout, note, heard.append)
    monkeypatch.setenv("COMEM_PROJECT", "/opt/comem")
    assert find_pool_to_work(layout, note, heard.append) is None
    assert [each.split(",")[0] for each in heard] == ["runs work in /opt/comem (COMEM_PROJECT)"]


def test_serve_deploys_to_ones_own_server_and_starts_no_server(
    api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (*PROJECT.iterdir(), Path(__file__).parents[2] / "prefect.toml"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    layout, heard = Layout(tmp_path, asked=api_url), []
    for name in ("COMEM_WORK_POOL", "COMEM_PROJECT"):
        monkeypatch.setenv(name, layout.build_environment({}, api_url)[name])
    try:
        with hold_lock(layout):
            note = start(layout, heard.append, keep=True)
        assert heard[0].startswith("your Prefect server at") and "starting the worker of the pool comem" in heard[1]
        assert note.server is None and note.worker is not None and note.worker.is_alive()
        assert not [each for each in list_processes(layout) if "server" in each.cmdline()]
        with SyncPrefectClient(api_url) as client:
            assert client.read_deployment_by_name("synth-and-train/other").work_pool_name == "comem"
        assert status(layout, Namespace()) == 0
        assert "Prefect server (yours)" in capsys.readouterr().out
        other = replace(layout, asked="http://127.0.0.1:1/api")
        with pytest.raises(StartError, match=r"this folder uses your Prefect server .* `make stop` first"):
            start(other, heard.append, keep=True)
    finally:
        stop(layout, Namespace())
    assert "ending the worker; your Prefect server stays" in capsys.readouterr().out
    assert list_processes(layout) == [] and layout.read_note() is None
    check_server(api_url)


def test_only_runs_whose_process_was_on_this_machine_are_marked_as_crashed_on_ones_own_server(
    api_url: str, tmp_path: Path
) -> None:
    @flow
    def story() -> None:
        pass

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, note = socket.gethostname(), Note(port=0, server=None, url=api_url)
    processes = {"another machine's": "elsewhere:1", "ours, ended": f"{here}:{ended.pid}", "a container": "images/ab12",
                 "ours, alive": f"{here}:{os.getpid()}", "not started": None}  # fmt: skip
    with SyncPrefectClient(api_url) as client:
        runs = {name: client.create_flow_run(story, state=Running()).id for name in processes}
        for name, process in processes.items():
            client.update_flow_run(runs[name], infrastructure_pid=process)
        mark_crashed(Layout(tmp_path, asked=api_url), note, lambda line: None)
        states = {name: client.read_flow_run(each).state_name for name, each in runs.items()}
    assert [name for name, state in states.items() if state == "Crashed"] == ["ours, ended"]


def test_a_demo_waits_on_ones_own_server_only_for_runs_of_its_own_folder(api_url: str, tmp_path: Path) -> None:
    @flow
    def story() -> None:
        pass

    layout, own = Layout(tmp_path, asked=api_url), Note(port=0, server=None, url=api_url)
    with SyncPrefectClient(api_url) as client:
        elsewhere = client.create_flow_run(story, state=Running())
        here = client.create_flow_run(story, state=Running())
        demo = client.create_flow_run(story, state=Running(), tags=[DEMO_TAG])
        processes = []
        try:
            for run in (here, demo):
                environment = os.environ | {MARK: str(tmp_path), FLOW_RUN: str(run.id)}
                processes.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, env=environment))
            assert [run.id for run in list_others(layout, own)] == [here.id]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        assert list_others(layout, own) == []
        assert client.read_flow_run(elsewhere.id).state_name == "Running"
