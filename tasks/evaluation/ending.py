"""The end of a run without a result: a parameter was refused, or the filters left nothing to train on or to ask.

For the latter: the funnel, the commonest reasons, and a page.
"""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from comem_core.addresses.faults import StoreGone
from comem_core.evaluation.benchmarks.own import NAME
from tasks.data.card import JudgedSet
from tasks.data.filter import HELD_OUT, read_dropped
from tasks.engine.address.lease import LeaseLost
from tasks.engine.attempts import StageTimedOut
from tasks.engine.context import ParameterRefused
from tasks.engine.plan import get_plan
from tasks.engine.store import Reference
from tasks.engine.telling import is_under_prefect
from tasks.evaluation.report import write_ended_report
from tasks.run import NothingKept, Run
from warehouse.connection import open_warehouse
from warehouse.page.data import flatten_recipe
from warehouse.samples.filtering import FILTERS, count_funnel, read_reason_meanings, write_funnel
from warehouse.sql import read_report_rows

NOTHING_KEPT = "NothingKept"
NUM_REASONS, LONGEST = 3, 100
SAID_IN_ONE_LINE = (ParameterRefused, StoreGone, LeaseLost, StageTimedOut)
ENGINE_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def end_with_explanation(flow: Callable[Parameters, Result]) -> Callable[Parameters, Result | State]:
    """Let a flow end in a state with the explanation as its message, instead of a traceback, when nothing was kept, a
    parameter was refused, or the store at an address was gone for too long.

    The state of the first has its own name and counts as completed, as `Drifted` does: Prefect raises every failed one
    again. The others fail the run; outside Prefect they are raised.
    """

    @wraps(flow)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | State:
        for name in ENGINE_LOGGERS:
            logging.getLogger(name).addFilter(_leave_out_refused)
        try:
            return flow(*args, **kwargs)
        except NothingKept as ended:
            return Completed(name=NOTHING_KEPT, message=str(ended))
        except SAID_IN_ONE_LINE as refused:
            if not is_under_prefect():
                raise
            return Failed(message=str(refused), data=refused)

    return run


def _leave_out_refused(record: logging.LogRecord) -> bool:
    """Leave out the tracebacks that Prefect logs of these errors, in a stage and in the run: the states have the
    reason."""
    if not record.exc_info:
        return True
    from prefect.task_engine import TaskRunTimeoutError

    return not isinstance(record.exc_info[1], (*SAID_IN_ONE_LINE, TaskRunTimeoutError))


def refuse_nothing_kept(run: Run, knowledge: Reference, sets: Sequence[JudgedSet]) -> None:
    """Raise NothingKept, with a page, if no draft was kept, or a corpus of one's own has none to set aside."""
    if get_plan() is not None:
        return
    num_kept = sum(each.kept.num_rows for each in sets)
    own = run.recipe.evaluation.benchmark == NAME
    if num_kept and not (own and not read_dropped(sets[0].kept, HELD_OUT)):
        return
    page = write_ended_report(run, knowledge, sets)
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        drafts, drops = ([getattr(each, role).fingerprint for each in sets] for role in ("drafts", "kept"))
        funnel = count_funnel(con, drafts, drops)
        values = {"drafts": drafts, "drops": drops, "reasons": list(FILTERS), "limit": NUM_REASONS}
        examples = read_report_rows(con, "drop_examples", values)
    title = (
        f"{num_kept} of {funnel.drafts} drafts were kept, about fewer than two items: none can be set aside for "
        "scoring. More questions help: raise limit or writing.ask_about"
        if num_kept
        else f"none of {funnel.drafts} drafts was kept, so there is nothing to train on"
    )
    meanings = read_reason_meanings(flatten_recipe(run.recipe_fields))
    lines = [title, "", *write_funnel(funnel), "", "the commonest reasons, with an example of each:"]
    lines += [_describe_example(each, meanings) for each in examples]
    lines += ["", f"items, index and drafts are kept and used again; docs/data.md has the ways on; page: {page}"]
    raise NothingKept("\n".join(lines))


def _describe_example(row: dict, meanings: dict[str, str]) -> str:
    said = row["error"] or f"answered {_cut(row['answer'])!r}"
    asked = f"asked {_cut(row['question'])!r}" if row["question"] else f"the model wrote {_cut(row['answer_raw'])!r}"
    meaning = meanings.get(row["reason"], "")
    return f"  {row['reason']} ({row['num_drafts']} drafts): {meaning}\n    {asked}, {said}"


def _cut(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= LONGEST else f"{joined[:LONGEST]}…"
