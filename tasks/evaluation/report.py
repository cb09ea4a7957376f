"""The report: a static page of the run, its lineage as OpenLineage events, and the key plots as Prefect artifacts."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from comem_core.addresses.copies import open_folder
from comem_core.knowledge.withdrawn import Withdrawal, list_pictures, list_withdrawn, read_withdrawals
from comem_core.measures.provenance import describe_machine
from comem_core.serving.layout import Record
from tasks.data.card import JudgedSet
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger, is_under_prefect, show
from tasks.evaluation.page_links import find_page, name_page
from tasks.rows.tables import read_items, read_questions
from tasks.run import Run
from tasks.training.training_data import find_reference
from warehouse.connection import open_warehouse
from warehouse.openlineage import write_openlineage_lines
from warehouse.page.data import RunData, collect, has_in_gallery
from warehouse.records import finish_run, register_artefact

REPORT = Stage(name="report", version="1")
PAGE, EVENTS = "report.html", "openlineage.jsonl"


@dataclass(frozen=True, kw_only=True)
class ReportKey:
    """A page describes one run, so each run has its own."""

    run_id: str


@stage_task(name="write-report")
def write_report(run: Run, knowledge: Reference, benchmark: Reference, scores: Reference) -> Reference:
    """Write the page of this run and its lineage events, and log where the page is."""
    inputs = {"knowledge": knowledge, "benchmark": benchmark, "scores": scores}
    return _write(run, inputs, [read_questions(benchmark), read_items(knowledge)], status="completed")


@stage_task(name="write-ended-report")
def write_ended_report(run: Run, knowledge: Reference, sets: Sequence[JudgedSet]) -> str:
    """Write the page of a run that ends before training, and return the page's address."""
    inputs = {"knowledge": knowledge} | {f"kept-{place}": each.kept for place, each in enumerate(sets)}
    report = _write(run, inputs, [read_items(knowledge)], status="failed")
    return name_page(run.context, report.folder / PAGE)


def _write(run: Run, inputs: dict[str, Reference], pictured: Sequence[Any], *, status: str) -> Reference:
    """Write the page and the lineage events; `pictured` are the rows whose pictures the page may show."""

    def make(artefact: Partial) -> None:
        with open_warehouse(run.context.warehouse) as con:
            finish_run(con, run.run_id, status=status)  # the page comes last and describes a finished run
        page = _render(run.context, run.run_id, pictured, machine=describe_machine())
        with open_warehouse(run.context.warehouse, read_only=True) as con:
            events = write_openlineage_lines(con, run.run_id)
            _show_plots(collect(con, run.run_id))
        for name, text in ((PAGE, page), (EVENTS, events)):
            with artefact.open_file(name) as path:
                path.write_text(text, encoding="utf-8")

    report = run_stage(run, REPORT, ReportKey(run_id=run.run_id), inputs, make)
    if get_plan() is not None:
        return report
    page = report.folder / PAGE
    get_stage_logger().info("report page: %s", name_page(run.context, page))
    show(create_link_artifact, find_page(run.context, page), key="report-page", description="The page of this run")
    return report


def _render(context: Context, run_id: str, pictured: Sequence[Any], *, machine: str | None) -> str:
    """Return the page of a run, without what was withdrawn from the store."""
    from warehouse.page.render import render_page  # imports matplotlib, which is only needed to draw

    stored, withdrawals = [each.open_pictures() for each in pictured], read_withdrawals(Store.of(context).place)
    hidden = list_pictures(withdrawals)

    def picture(image_id: str) -> bytes | None:
        return None if image_id in hidden else next((found for each in stored if (found := each.get(image_id))), None)

    with open_warehouse(context.warehouse, read_only=True) as con:
        return render_page(con, run_id, images=picture, machine=machine, withdrawn=list_withdrawn(withdrawals))


def render_again(context: Context, withdrawal: Withdrawal) -> int:
    """Write the pages again that show what was withdrawn, or taken back; return how many there were."""
    store, shown = Store.of(context), {"item_ids": set(withdrawal.item_ids), "image_ids": list_pictures([withdrawal])}
    with open_warehouse(context.warehouse, read_only=True) as con:
        found = [
            each for each in store.list_records(REPORT.name) if has_in_gallery(con, each["recipe"]["run_id"], **shown)
        ]
    for record in found:
        _write_again(context, store, record)
    return len(found)


def _write_again(context: Context, store: Store, record: Record) -> None:
    """Replace the page of an earlier run; pictures whose artefact is gone are missing in it."""
    pictured = [
        read(found)
        for role, read in (("benchmark", read_questions), ("knowledge", read_items))
        if (found := find_reference(store, record["inputs"].get(role, ""))) is not None
    ]
    page = _render(context, record["recipe"]["run_id"], pictured, machine=None)
    with store.lock(record["stage"], record["fingerprint"]):
        artefact = store.begin(record["stage"], record["fingerprint"])
        with artefact.open_file(PAGE) as path:
            path.write_text(page, encoding="utf-8")
        finished = store.finish(artefact, record)
    with open_warehouse(context.warehouse) as con:
        place = {"folder": open_folder(finished["uri"]), "uri": finished["uri"]}
        register_artefact(con, finished, table=None, **place, replace=True)


def _show_plots(data: RunData) -> None:
    """Show the funnel and the loss curve in the Prefect UI as pictures."""
    if not is_under_prefect():
        return
    from warehouse.page.plots import draw_funnel, draw_loss, write_standalone

    plots = {
        "funnel": draw_funnel(data.funnel) if data.funnel else None,
        "loss-curve": draw_loss(data.trainings[0].losses) if data.trainings else None,
    }
    for key, plot in plots.items():
        if plot is not None:
            encoded = base64.b64encode(write_standalone(plot).encode()).decode()
            picture = f"![{plot.alt}](data:image/svg+xml;base64,{encoded})"
            show(create_markdown_artifact, f"{picture}\n\n{plot.alt}", key=key, description=key.replace("-", " "))
