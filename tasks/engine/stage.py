"""The only cache: a stage's result is reused if it is there and verified, continued if a part of it is, or else made.

Prefect's own cache is off, because it cannot see changes in a stage's helper functions. A stage raises its `version`
instead. Workers import stages for the functions that they run. Importing Prefect takes seconds, so it is imported only
where a stage is called.
"""

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import pyarrow.parquet as pq

from comem_core.addresses.copies import is_table, open_folder
from comem_core.addresses.faults import StoreGone
from comem_core.measures.provenance import find_commit
from comem_core.serving.layout import Record
from tasks.engine.attempts import StageTimedOut, list_delays
from tasks.engine.context import Context, ParameterRefused, RunRef
from tasks.engine.partial import ROWS_OF, BudgetSpent, Partial
from tasks.engine.plan import CountMissing, describe_making, explain_making, get_plan
from tasks.engine.reuse import NAMING, Stage, fingerprint, join_versions, list_libraries
from tasks.engine.store import LIBRARIES, Reference, Store
from tasks.engine.telling import get_stage_logger, is_under_prefect, name_stage, say_begin, say_outcome, show
from warehouse.connection import open_warehouse
from warehouse.declared import declare_stages
from warehouse.records import record_stage, register_artefact
from warehouse.schemas import describe_misfit

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class _Making:
    """What a stage was asked to make, and the fingerprint of its result."""

    stage: str
    version: str
    recipe: dict[str, Any]
    references: Mapping[str, Reference]
    fingerprint: str
    declared: Stage

    @property
    def told(self) -> str:
        """The stage as a run tells of it: with what its result is of, if a run makes several."""
        of = self.references.get(self.declared.of)
        return f"{self.stage} ({of.stage})" if of else self.stage

    @property
    def inputs(self) -> dict[str, str]:
        """The fingerprints of the inputs by role."""
        return {role: reference.fingerprint for role, reference in self.references.items()}

    def explain(self, store: Store) -> str:
        """Explain why the artefact has to be made."""
        return explain_making(self.recipe, self.references, store, declared=self.declared)

    def describe_outcome(self, action: str, reason: str, seconds: float) -> dict[str, Any]:
        """Describe what a run did with the artefact, as a row for the warehouse."""
        facts = {"stage": self.stage, "fingerprint": self.fingerprint, "action": action}
        return facts | {"reason": reason, "seconds": seconds}


class StageTask(Generic[P, R]):
    """A stage. A call runs it as a Prefect task; if the run is only planned, the function is called directly.

    Its first argument is the run, whose context may limit the time of a try and say how often it is tried again.
    """

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        self.fn, self.options = function, options
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if get_plan() is not None:
            return self.fn(*args, **kwargs)
        from prefect.task_engine import TaskRunTimeoutError

        limited = self._limit(args[0].context if args and isinstance(args[0], RunRef) else None)
        try:
            return limited(*args, **kwargs)
        except TaskRunTimeoutError as error:
            raise StageTimedOut(
                f"{limited.name} took longer than {limited.timeout_seconds:g} s, which COMEM_STAGE_SECONDS allows "
                f"(tries: {limited.retries + 1}). What it finished is kept: the same run goes on from there; allow more "
                "time if it needs more"
            ) from error

    def _limit(self, context: Context | None) -> "Task[P, R]":
        """Return the task with what the context says of its time and of further tries."""
        seconds, retries = (
            limit.of(self.task.name) if limit else None
            for limit in (context and context.stage_seconds, context and context.stage_retries)
        )
        if seconds is None and retries is None:
            return self.task
        retries = self.task.retries if retries is None else int(retries)
        delays = list_delays(retries)
        return self.task.with_options(timeout_seconds=seconds, retries=retries, retry_delay_seconds=delays)

    @functools.cached_property
    def task(self) -> "Task[P, R]":
        """The Prefect task, made when the stage is first called."""
        from prefect import Task
        from prefect.cache_policies import NO_CACHE

        settings: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
        settings.update(
            {"retries": 1, "retry_delay_seconds": 1, "retry_condition_fn": is_worth_retrying}, **self.options
        )
        return Task(self.fn, **settings)


def is_worth_retrying(task: Any, task_run: Any, state: Any) -> bool:
    """Tell whether a stage that failed is tried again: what was refused would be refused again, and a store that is
    gone was waited for.

    The parameters are those of Prefect's `retry_condition_fn`.
    """
    return not isinstance(state.data, ParameterRefused | StoreGone)


def stage_task(**options: Any) -> Callable[[Callable[P, R]], StageTask[P, R]]:
    """Make a function a Prefect task that is retried once, if it may succeed, and leaves reuse to `run_stage`.

    `options` are those of Prefect's `task`, with its `name`; they override the defaults here.
    """
    return lambda function: StageTask(function, options)


def run_stage(
    run: RunRef,
    declared: Stage,
    key: Any,
    inputs: Mapping[str, Reference],
    make: Callable[[Partial], None],
    *,
    expects: int | None = None,
    count_missing: CountMissing | None = None,
) -> Reference:
    """Return the stage's artefact: reused if verified, else continued or made by `make`, checked and recorded.

    `key` is a frozen dataclass of what decides the result besides the inputs. `make` writes into the partial folder and
    skips what `partial.list_finished()` names. If the stage declares a table, every Parquet shard must have that
    table's columns, and its rows are loaded into the warehouse. For a plan, `expects` is the approximate number of
    rows, and `count_missing` counts them and those that no earlier artefact has; if the run is only planned, nothing is
    made.
    """
    made_from = {role: reference.fingerprint for role, reference in inputs.items()}
    name, stage, table = fingerprint(declared, key, made_from), declared.name, declared.table
    making = _Making(
        stage=stage,
        version=declared.version,
        recipe=asdict(key),
        references=inputs,
        fingerprint=name,
        declared=declared,
    )
    store, started = Store.of(run.context), time.monotonic()
    if (plan := get_plan()) is not None:
        reason = making.explain(store)
        counts = {"expected": expects, "count_missing": count_missing, "workers": run.context.num_actors}
        return plan.add(store, stage, name, told=making.told, reason=reason, inputs=inputs, **counts)
    with name_stage(making.told), store.lock(stage, name) as waited:
        damage = None
        if record := store.find(stage, name):
            damage = store.damage(record, again=False)
        if record and not damage:
            action = "reused"
            store.drop_unfinished(stage, name)
            waiting = ", made by another run while this one waited" if waited else ""
            reason = f"same recipe, same inputs, {len(record['shards'])} shards verified{waiting}"
        else:
            with _record_failure(run, making):
                action, reason, record = _make(store, making, make, table=table, damage=damage)
                making = replace(making, fingerprint=record["fingerprint"])
        say_outcome(action, reason, record, seconds=time.monotonic() - started)
    hashed = action != "reused" or making.fingerprint == name  # a cut-off result that exists was found, not verified
    with open_warehouse(run.context.warehouse) as con:
        declare_stages(con, [declared.row])
        # The store counts, because runs read from it; so the warehouse's copy is replaced.
        place = {"folder": open_folder(record["uri"], is_table), "uri": record["uri"]}
        register_artefact(con, record, table=table, **place, replace=True, hashed=hashed)
        record_stage(con, run.run_id, making.describe_outcome(action, reason, time.monotonic() - started))
    _show(action, making, reason, record)
    return Reference(stage=stage, fingerprint=making.fingerprint, uri=record["uri"], num_rows=record["num_rows"])


def _make(
    store: Store, making: _Making, make: Callable[[Partial], None], *, table: str | None, damage: dict[str, str] | None
) -> tuple[str, str, Record]:
    """Make or continue an artefact; return what was done, why, and the record."""
    started = time.monotonic()
    partial = store.begin(making.stage, making.fingerprint)
    before, begun = partial.list_finished(), len(partial.list_begun())
    libraries = join_versions(partial.keep_each(LIBRARIES, list_libraries()))
    if damage:
        action, faults = "made", [f"{file} {fault}" for file, fault in damage.items()]
        reason = f"again: {'; '.join(faults[:3])}" + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
    elif before or begun:
        action, reason = "continued", f"{len(before)} shards and {begun} batches of others were there"
    else:
        action, reason = "made", making.explain(store)
    say_begin(reason)
    if mixed := [f"{name} {versions}" for name, versions in libraries.items() if " and " in versions]:
        get_stage_logger().warning("continues with other libraries: %s", ", ".join(mixed))
    try:
        make(partial)
    except BudgetSpent:
        making, partial, reason = _save_smaller(store, making, partial)
        if known := store.find(making.stage, making.fingerprint):
            return "reused", reason, known
    _check(partial, making.stage, table)
    if action == "continued" and "finished" not in making.recipe:
        batches = f", and {begun} batches of others" if begun else ""
        reason = f"{len(before)} of {len(partial.list_finished())} shards were there{batches}"
    draft: Record = {
        "fingerprint": making.fingerprint,
        "stage": making.stage,
        "table": table,
        "version": making.version,
        "naming": NAMING,
        "recipe": making.recipe,
        "inputs": making.inputs,
        "uri": "",
        "num_rows": 0,
        "num_bytes": 0,
        "shards": [],
        "content_sha256": "",
        "seconds": time.monotonic() - started,
        "measured": {},
        "libraries": libraries,
        "commit": find_commit(),
        "created": datetime.now(UTC).isoformat(),
    }
    return action, reason, store.finish(partial, draft)


def _save_smaller(store: Store, making: _Making, partial: Partial) -> tuple[_Making, Partial, str]:
    """Turn what was finished in time into a smaller artefact, named by its finished parts; a later run can continue.

    Raises ValueError if nothing was finished.
    """
    done = sorted([*partial.list_finished(), *partial.list_begun()])
    if not done:
        raise ValueError(f"{making.stage}: the time allowed was over before one batch was finished; allow more time")
    finished = hashlib.sha256("\n".join([making.fingerprint, *done]).encode()).hexdigest()[:16]
    smaller = replace(making, recipe=making.recipe | {"finished": finished}, fingerprint=finished)
    reason = f"the time allowed was over; a run that allows more time makes the rest [{making.fingerprint}]"
    if store.find(making.stage, smaller.fingerprint):
        return smaller, partial, reason
    return smaller, store.begin_with(partial, making.stage, smaller.fingerprint), reason


@contextlib.contextmanager
def _record_failure(run: RunRef, making: _Making) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:  # Prefect ends a stage whose time is over by the latter
        failed = making.describe_outcome("failed", f"{type(error).__name__}: {error}"[:500], time.monotonic() - started)
        with contextlib.suppress(Exception), open_warehouse(run.context.warehouse) as con:  # keep the first error
            record_stage(con, run.run_id, failed)
        raise


def _check(partial: Partial, stage: str, table: str | None) -> None:
    """Refuse an artefact without shards, or with a shard that lacks a column of its table."""
    if not partial.list_finished():
        raise ValueError(f"{stage} wrote no shard; a result without rows must be one shard without rows")
    for path in sorted(partial.folder.glob("*.parquet")):
        found = pq.read_schema(path)
        target = (found.metadata or {}).get(ROWS_OF, (table or "").encode()).decode()
        if target and (misfit := describe_misfit(found, target)):
            raise ValueError(f"{path.name} of {stage}: {misfit}")


def _show(action: str, making: _Making, reason: str, record: Record) -> None:
    """Show the artefact and what was done with it in the Prefect UI, as a table of the task run."""
    if not is_under_prefect():
        return
    from prefect.artifacts import create_table_artifact

    row = {"action": action, "why": reason, "fingerprint": making.fingerprint, "rows": record["num_rows"]}
    row |= {"bytes": record["num_bytes"], "shards": len(record["shards"]), "folder": record["uri"]}
    row |= {f"input {role}": name for role, name in making.inputs.items()}
    key = f"stage-{making.stage}".replace("_", "-").lower()
    show(create_table_artifact, [row], key=key, description=f"{making.stage} {describe_making(action, reason)}")
