"""A local Prefect: server, process work pool, deployments of prefect.yaml, worker. Started once, shared, ended."""

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import filelock
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from flows.local import deploying, runs, servers
from flows.local.layout import DEFAULT_PORT, HOST, Layout, Note, Process
from flows.local.processes import (
    StartError,
    choose_port,
    end,
    end_all,
    end_one,
    find_free_port,
    list_processes,
    spawn,
    wait_until,
)
from tasks.engine.context import Context

START_SECONDS = 180
PAGES_AFTER = 100
"""The pages' port is so far behind the server's, if it is free, so that links stay right from day to day."""
PAGES_URL, MAX_RUNS = "COMEM_PAGES_URL", "COMEM_MAX_RUNS"
Say = Callable[[str], None]


def find_prefect(*arguments: str) -> list[str]:
    """Return the command line of this environment's Prefect."""
    return [sys.executable, "-m", "prefect", *arguments]


@contextlib.contextmanager
def keep_up(layout: Layout, say: Say, *, keep: bool) -> Iterator[Note]:
    """Keep a local Prefect running for the block, and start what is missing. The last user stops it, unless kept."""
    try:
        with hold_lock(layout):
            note = start(layout, say, keep=keep, user=Process.find_current())
        yield note
    finally:
        leave(layout, say)


@contextlib.contextmanager
def hold_lock(layout: Layout) -> Iterator[None]:
    """Let one command at a time start or end things. Raises StartError after the time that a start may take."""
    with _hold(layout.lock_path, busy="another command has been starting or ending things"):
        yield


@contextlib.contextmanager
def hold_ports() -> Iterator[None]:
    """Let one project at a time choose a port and take it, for a server takes seconds from the one to the other."""
    path = Path(tempfile.gettempdir()) / f"comem-ports-{getpass.getuser()}.lock"
    with _hold(path, busy="another project has been starting its server"):
        yield


@contextlib.contextmanager
def _hold(path: Path, *, busy: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=START_SECONDS)
    except filelock.Timeout:
        raise StartError(f"{busy} for {START_SECONDS} s") from None
    try:
        yield
    finally:
        lock.release()


def start(layout: Layout, say: Say, *, keep: bool, user: Process | None = None) -> Note:
    """Start server, worker and deployments, or find them up. Call it under the lock."""
    note, begun, limit = layout.read_note(), None, choose_run_limit(os.environ)
    if layout.asked:
        note = join_server(layout, note, say)
    elif note is None:
        last = find_going_on(layout)
        if last is None:
            end_all(layout, grace=5)
        with hold_ports():
            note, begun = start_server(layout, say, last=last)
    else:
        say(f"the Prefect server is running already at {note.ui_url}: it is used")
    note.users += [user] if user else []
    layout.write_note(note)
    has_worker = note.worker is not None and note.worker.is_alive()
    pool = find_pool_to_work(layout, note, say)
    if pool is not None:
        serve_pages(layout, note, say)
    if not has_worker:
        runs.mark_crashed(layout, note, say)
        if pool is not None:
            start_worker(layout, note, say, pool=pool, limit=limit)
    deploying.deploy(layout, note, say, begun=begun, seconds=START_SECONDS)
    note.keep = note.keep or keep
    layout.write_note(note)
    return note


def find_going_on(layout: Layout) -> Note | None:
    """Return the note of a server that was killed, if runs go on without it. Their worker stays: it reads what they
    say."""
    last = layout.read_note(even_ended=True)
    return last if last and list_processes(layout, any_run=True) else None


def start_server(
    layout: Layout, say: Say, *, last: Note | None = None
) -> tuple[Note, "subprocess.Popen[bytes] | None"]:
    """Start the server, and beside it what deploys if there is something to deploy. Call it under the lock of ports.

    The runs and the worker of the `last` server, which was killed, look for it at their port.
    """
    note, begun = Note(port=choose_port(last.port if last else None), server=Process.find_current()), None
    if last is not None:
        say("the last Prefect server has ended without its runs, which go on")
        note.worker, note.pages, note.pages_port = last.worker, last.pages, last.pages_port
    say(f"starting the Prefect server at {note.ui_url} (log: {shorten_path(layout, 'server.log')})")
    command = find_prefect("server", "start", "--host", HOST, "--port", str(note.port))
    note.server = spawn(command, layout=layout, log="server.log", api_url=note.api_url)
    layout.write_note(note)  # from here on `stop` finds it, whatever happens to us
    if not deploying.is_noted(layout):
        begun = deploying.begin(layout, note)  # it imports the flows while the server starts
    wait_until(
        lambda: is_healthy(note),
        process=note.server,
        what="the Prefect server",
        log=layout.logs / "server.log",
        seconds=START_SECONDS,
    )
    return note, begun


def is_healthy(note: Note) -> bool:
    """Tell whether the server answers."""
    try:
        with urllib.request.urlopen(f"{note.api_url}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def join_server(layout: Layout, note: Note | None, say: Say) -> Note:
    """Check the user's own server, and note that it is used. Raises StartError for a server that cannot be used."""
    assert layout.asked is not None
    if note is not None and note.url != layout.asked:
        raise StartError(
            f"this folder uses {note.whose} at {note.ui_url}, but PREFECT_API_URL or the active profile names "
            f"{layout.asked}. `make stop` first, or unset the variable"
        )
    servers.check_server(layout.asked)
    page = servers.find_page(layout.asked)
    say(f"your Prefect server at {page} is used (PREFECT_API_URL or the active profile): none is started here")
    return note or Note(port=0, server=None, url=layout.asked, page=page)


def find_pool_to_work(layout: Layout, note: Note, say: Say) -> str | None:
    """Look at the work pools of prefect.yaml, and return the process pool that gets a worker here; None without one.

    Raises StartError for a missing pool, or where the runs of a pool would not find the project.
    """
    pools = deploying.list_pools(layout)
    found = {name: servers.prepare_pool(note.api_url, name, is_ours=not note.url) for name in pools}
    others = {name: kind for name, kind in found.items() if kind != servers.PROCESS}
    if (project := os.environ.get("COMEM_PROJECT")) not in (None, str(layout.root)):
        say(f"runs work in {project} (COMEM_PROJECT), not here, so no worker is started (docs/cluster.md)")
        return None
    if others:
        raise StartError(
            f"the work pool {' and '.join(others)} is not a process pool, so its runs are not in this folder. Set "
            "COMEM_PROJECT to the project's folder in its image (/opt/comem with application/Dockerfile)"
        )
    return next(iter(found), None)


def serve_pages(layout: Layout, note: Note, say: Say) -> None:
    """Serve the pages of the store to browsers of this machine, unless COMEM_PAGES_URL names where that is done.

    Where it does not succeed, links name the files, so nothing waits for it.
    """
    if PAGES_URL in os.environ or (note.pages is not None and note.pages.is_alive()):
        return
    port = find_free_port(note.pages_port or (note.port or DEFAULT_PORT) + PAGES_AFTER)
    if port is None:
        say("no port is free for the pages of runs: their links name files")
        return
    command = [sys.executable, "-m", "warehouse.page.server", str(Context.from_environment().store), str(port)]
    note.pages, note.pages_port = spawn(command, layout=layout, log="pages.log", api_url=note.api_url), port
    layout.write_note(note)


def choose_run_limit(environ: Mapping[str, str]) -> int | None:
    """Return how many runs the worker does at once, the others waiting: what COMEM_MAX_RUNS says, else one where each
    run takes a GPU of this machine for itself, else any number (None).

    Raises StartError if COMEM_MAX_RUNS is not a number of at least 1.
    """
    stated = environ.get(MAX_RUNS)
    if stated is None:
        return 1 if environ.get("COMEM_DEVICE") == "cuda" and not environ.get("RAY_ADDRESS") else None
    if not stated.strip().isdecimal() or int(stated) == 0:
        raise StartError(f"{MAX_RUNS} is {stated!r}; expected a number of at least 1")
    return int(stated)


def start_worker(layout: Layout, note: Note, say: Say, *, pool: str, limit: int | None) -> None:
    """Start a worker of a process pool, which does at most `limit` runs at once."""
    runs_at_once = "" if limit is None else f", {limit} {'run' if limit == 1 else 'runs'} at a time ({MAX_RUNS})"
    say(f"starting the worker of the pool {pool}{runs_at_once} (log: {shorten_path(layout, 'worker.log')})")
    name = f"comem on {socket.gethostname()}" if note.url else "local"
    command = find_prefect("worker", "start", "--pool", pool, "--type", servers.PROCESS, "--name", name)
    command += [] if limit is None else ["--limit", str(limit)]
    variables = {PAGES_URL: note.pages_url} if note.pages_url else {}
    note.worker = spawn(command, layout=layout, log="worker.log", api_url=note.api_url, variables=variables)
    layout.write_note(note)


def leave(layout: Layout, say: Say) -> None:
    """Withdraw this process from the local Prefect, and stop Prefect if no other process uses it."""
    with hold_lock(layout):
        note = layout.read_note()
        if note is None:
            end_all(layout, grace=5)
            return
        note.users = [user for user in note.users if user != Process.find_current()]
        if not note.users and not note.keep and (others := runs.list_others(layout, note)):
            say(f"{', '.join(run.name for run in others)}: not this demo's, and under way")
            note.keep = True
        layout.write_note(note)
        if note.keep or note.users:
            say(_describe_up(note))
        else:
            shut_down(layout, note, say)


def _describe_up(note: Note) -> str:
    if note.url is not None:
        up = "the worker stays up" if note.worker else f"the deployments stay at {note.ui_url}"
    else:
        up = f"the Prefect server stays up at {note.ui_url}"
    return f"{up} (`make stop` ends it)" if note.keep else f"{up} until the other demo ends (`make stop` ends it now)"


def shut_down(layout: Layout, note: Note | None, say: Say) -> None:
    """End worker, flow runs, Ray and server, in this order, and make sure that nothing of them is left."""
    if note is not None:
        worker = "ending the worker" if note.worker else "no worker is up"
        say(f"{worker}; your Prefect server stays" if note.url else "ending the worker and the Prefect server")
        with contextlib.suppress(Exception), servers.open_client(note.api_url) as client:
            for run in runs.list_own_unfinished(layout, note, client, StateType.RUNNING, StateType.PENDING):
                client.set_flow_run_state(run.id, Cancelling(), force=True)
        end_one(note.worker, grace=20)  # first: a worker whose server is gone does not end on request
        end(
            [process for process in list_processes(layout) if note.server is None or process.pid != note.server.pid],
            grace=10,
        )
        with contextlib.suppress(Exception):
            runs.mark_crashed(layout, note, say)
        end_one(note.server, grace=10)
    end_all(layout, grace=5)
    layout.note_path.unlink(missing_ok=True)


def kill(layout: Layout) -> None:
    """Kill everything at once, for someone who pressed Ctrl-C twice."""
    end_all(layout, grace=0)
    layout.note_path.unlink(missing_ok=True)


def shorten_path(layout: Layout, log: str) -> Path:
    """Name a log file as one sees it from the project's folder."""
    return (layout.logs / log).relative_to(layout.root)
