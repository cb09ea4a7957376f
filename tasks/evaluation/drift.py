"""The end of a run that evaluates: its page, and, when a score moved (drift), its final state and an event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from comem_core.measures.provenance import describe_machine
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import DRIFT_EVENT, get_stage_logger, is_under_prefect, show
from tasks.evaluation.compare import Since, open_pictures
from tasks.evaluation.encoder_pairs import read_pairs
from tasks.evaluation.page_links import find_page, name_page, write_link
from tasks.run import Run
from warehouse.connection import open_warehouse
from warehouse.page.evaluation import Evaluated, render_evaluation
from warehouse.page.wording import write_verdict

EVALUATION_REPORT = Stage(name="evaluation-report", version="1")
RESOURCE = "comem.evaluation"
DRIFTED = "Drifted"
PAGE = "evaluation.html"


@dataclass(frozen=True, kw_only=True)
class EvaluationReportKey:
    """A page describes one run, so each run has its own."""

    run_id: str


@stage_task(name="report-evaluations")
def report_evaluations(run: Run, evaluations: Sequence[Since], pairs: Reference | None) -> Reference:
    """Write the page of all evaluations of a run, with its `pairs` of encoders, and log where it is."""

    def make(artefact: Partial) -> None:
        images = open_pictures([each.evaluation.questions.folder for each in evaluations])
        told = [
            Evaluated(
                row=each.evaluation.make_row(run),
                metric=each.metric,
                since=each.compared,
                page=write_link(each.page) if each.page else None,
                unchanged=each.unchanged,
            )
            for each in evaluations
        ]
        with open_warehouse(run.context.warehouse, read_only=True) as con:
            page = render_evaluation(
                con, run.run_id, told, pairs=read_pairs(pairs), images=images, machine=describe_machine()
            )
        with artefact.open_file(PAGE) as path:
            path.write_text(page, encoding="utf-8")

    inputs = {f"scores-{place}": each.evaluation.scores for place, each in enumerate(evaluations)}
    inputs |= {"encoder-pairs": pairs} if pairs else {}
    report = run_stage(run, EVALUATION_REPORT, EvaluationReportKey(run_id=run.run_id), inputs, make)
    if get_plan() is None:
        page = report.folder / PAGE
        get_stage_logger().info("evaluation page: %s", name_page(run.context, page))
        address = find_page(run.context, page)
        show(create_link_artifact, address, key="evaluation-page", description="The page of this run")
    return report


def finish_evaluations(run: Run, evaluations: Sequence[Since], *, min_points: float) -> State | None:
    """Return the run's final state: `Drifted` if a score moved by more than chance and by at least `min_points`.

    Each evaluation that moved raises an event; its payload says by how much and why. A planned run has no state.
    """
    if get_plan() is not None:
        return None
    moved = [(each, rows) for each in evaluations if (rows := each.list_moved(min_points=min_points))]
    for each, rows in moved:
        _raise_event(run, each, rows)
    _show(evaluations)
    if not moved:
        num = len(evaluations)
        return Completed(message=f"{num} evaluation{'s' * (num != 1)}, no drift")
    said = "; ".join(_write_sentence(each, rows) for each, rows in moved)
    get_stage_logger().warning("drift: %s", said)
    return Completed(name=DRIFTED, message=said[:1000])


def _raise_event(run: Run, since: Since, moved: Sequence[dict[str, Any]]) -> None:
    """Send an event to Prefect's server, if there is one; triggers match the event's name or its resource."""
    evaluation, compared = since.evaluation, since.compared
    assert compared is not None and since.page is not None
    resource = {
        "prefect.resource.id": f"{RESOURCE}.{run.recipe_name}.{evaluation.benchmark}",
        "prefect.resource.name": str(evaluation),
        "comem.encoder": evaluation.encoder.fingerprint,
        "comem.benchmark": evaluation.benchmark,
        "comem.corpus": run.recipe.knowledge.corpus,
        "comem.reader": evaluation.reader_name or run.recipe.backbone.name,
    }
    payload = {
        "moved": [{name: row[name] for name in ("first", "k", "word", "value", "low", "high", "n")} for row in moved],
        "causes": [str(change) for change in compared.causes],
        "inputs": list(compared.inputs),
        "page": find_page(run.context, since.page),
    }
    emit_event(event=DRIFT_EVENT, resource=resource, payload=payload)


def _write_sentence(since: Since, moved: Sequence[dict[str, Any]]) -> str:
    scores = ", ".join(f"{row['first']} k={row['k']} {row['word']} by {abs(100 * row['value']):.1f}" for row in moved)
    causes = since.compared.causes if since.compared else ()
    why = ", ".join(dict.fromkeys(change.subject for change in causes)) or "nothing known"
    return f"{since.evaluation}: {scores} points; changed: {why}"


def _show(evaluations: Sequence[Since]) -> None:
    """Show the differences and their causes in the Prefect UI."""
    if not is_under_prefect():
        return
    compared = [(each, each.compared) for each in evaluations if each.compared]
    lines = [_make_line(each, row) for each, found in compared for row in found.differences if "/" not in row["split"]]
    if lines:
        show(create_table_artifact, lines, key="since-last-time", description="This evaluation against the one before")
    for each, found in compared:
        causes = "\n".join(f"- {change}" for change in found.causes) or "- nothing that decides an answer"
        text = f"{each.evaluation}\n\n{causes}"
        show(create_markdown_artifact, text, key="why", description="What changed since the previous evaluation")


def _make_line(since: Since, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "encoder": since.evaluation.name,
        "reader": since.evaluation.reader_name or "the encoder's own model",
        "benchmark": since.evaluation.benchmark,
        "condition": row["first"],
        "k": row["k"],
        "split": row["split"],
        "verdict": write_verdict(row),
        "points": round(100 * row["value"], 2),
        "p (Holm)": round(row["p_adjusted"], 4),
        "questions": row["n"],
        "changed": row["changed"],
        "needed to see it": row["needed"],
    }
