"""What a run says: when a stage begins, how fast it is, what was made or reused, and why; of a plan, what it would do.

The lines are in Prefect's log of the run, or in a plain one; each begins with its stage. A plan is a table, as wide as
the terminal is, and its reasons are sentences.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

from comem_core.serving.layout import Record
from tasks.engine.plan import OF_EACH_RUN, Plan, get_plan
from tasks.engine.workers import Pace, Progress

BEGINS = "begins"
DRIFT_EVENT = "comem.evaluation.drifted"
"""The event on Prefect's server that says that a score moved."""
GONE_SECONDS, ANSWER_SECONDS = 60.0, 10.0
"""How long nothing is shown after Prefect's server did not answer, and how long it may take to."""
NUMBERS = ("stage", "do", "rows", "to make", "tokens", "hours", "GB")
HASH = r"[0-9a-f]{12,64}"
CHANGED = re.compile(rf"changed from {HASH} to {HASH}")
NAMED = re.compile(rf" (?:of )?{HASH}\b")
TITLE = "What this run would do"
_stage: ContextVar[str | None] = ContextVar("stage", default=None)
_gone_until = 0.0


class _OfStage(logging.LoggerAdapter[Any]):
    """Puts the stage before each line, on whichever thread it is said."""

    def __init__(self, logger: Any, stage: str) -> None:
        super().__init__(logger)
        self.stage = stage

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self.stage}: {msg}", kwargs


@contextlib.contextmanager
def name_stage(stage: str) -> Iterator[None]:
    """Let every line of the block begin with the stage."""
    token = _stage.set(stage)
    try:
        yield
    finally:
        _stage.reset(token)


def is_under_prefect() -> bool:
    """Tell whether this code runs in a Prefect flow or task that is not only planned."""
    if "prefect" not in sys.modules or get_plan() is not None:
        return False  # nothing runs under Prefect before something imports it
    from prefect.context import FlowRunContext, TaskRunContext

    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


def show(create: Callable[..., object], *args: Any, **options: Any) -> None:
    """Show something in the Prefect UI, by one of Prefect's own functions, where this runs under Prefect.

    A server that does not answer costs nothing but this view: the log says so, and the run goes on.
    """
    global _gone_until
    if not is_under_prefect() or time.monotonic() < _gone_until:
        return
    import httpx
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1, PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS}):
            create(*args, **options)
    except httpx.HTTPError as error:
        _gone_until = time.monotonic() + GONE_SECONDS
        said = str(error).partition("\n")[0] or type(error).__name__
        get_stage_logger().warning("the Prefect server did not take what its page shows of this (%s)", said)


def get_stage_logger() -> Any:
    """Return Prefect's logger of the current run, or a plain one outside a flow; in a stage its lines begin with it."""
    logger: Any = logging.getLogger("comem.stage")
    if is_under_prefect():
        from prefect import get_run_logger

        logger = get_run_logger()
    stage = _stage.get()
    return logger if stage is None else _OfStage(logger, stage)


def say(line: str, level: int = logging.INFO) -> None:
    """Say a line before the plan, or in the log where stages really run."""
    plan.notes.append(line) if (plan := get_plan()) else get_stage_logger().log(level, "%s", line)


def report_progress(*, every_seconds: float = 5.0) -> Callable[[Progress], None]:
    """Return an `on_done` for `map_shards` that logs rate and remaining time every few seconds and at the end."""
    last, pace = time.monotonic(), Pace()

    def on_done(progress: Progress) -> None:
        nonlocal last
        described = pace.describe(progress)
        if time.monotonic() - last >= every_seconds or progress.done == progress.total:
            last = time.monotonic()
            get_stage_logger().info("%s", described)

    return on_done


def say_begin(reason: str) -> None:
    """Log that a stage begins, and why."""
    get_stage_logger().info("%s%s", BEGINS, _write_reason(reason))


def say_outcome(action: str, reason: str, record: Record, *, seconds: float) -> None:
    """Log what was done with an artefact, and why."""
    rows = f" {record['num_rows']:,} rows" if record.get("table") or record["num_rows"] else ""
    took = "" if action == "reused" else f" in {seconds:.1f} s"
    said = f"{action}{rows}{took}{_write_reason(reason)}"
    get_stage_logger().info("%s [%s %s]", said, record["stage"], record["fingerprint"])


def _write_reason(reason: str) -> str:
    """Write a reason in brackets, without fingerprints; that there was none yet, or could be, is not worth a word."""
    return "" if reason.startswith("no artefact") or reason == OF_EACH_RUN else f" ({drop_hashes(reason)})"


def write_plan(plan: Plan) -> None:
    """Print a plan as wide as the terminal is; under Prefect, also make a table of it."""
    from prefect.artifacts import create_table_artifact
    from prefect.context import FlowRunContext
    from rich.console import Console
    from rich.table import Table

    console, lines = Console(color_system=None), plan.list_lines()  # colours would be escaped
    for note in plan.notes:
        console.print(note, markup=False, highlight=False)
    table = Table(title=TITLE, title_justify="left")
    for name in NUMBERS:
        table.add_column(name, justify="left" if name in NUMBERS[:2] else "right", overflow="fold")
    for line in lines:
        table.add_row(*(line[name] for name in NUMBERS))
    console.print(table)
    for said in describe_reasons(lines):
        console.print(said, markup=False, highlight=False)
    if FlowRunContext.get() is not None:
        create_table_artifact(lines, key="plan", description=TITLE)


def describe_reasons(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Return why the stages of a plan are made or reused, and what their cost is estimated from, without fingerprints.

    Stages with the same reason share a sentence.
    """
    stages: dict[str, list[str]] = {}
    for line in lines:
        estimated = f" (estimated from {line['estimated from']})" if line["estimated from"] else ""
        if said := drop_hashes(line["why"] + estimated):
            stages.setdefault(said, []).append(line["stage"])
    return [f"{', '.join(dict.fromkeys(names))}: {said}" for said, names in stages.items()]


def drop_hashes(text: str) -> str:
    """Write a reason without fingerprints: what changed is named, and that it is another one."""
    return NAMED.sub("", CHANGED.sub("is another one", text))
