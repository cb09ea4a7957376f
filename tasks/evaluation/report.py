"""The report: a static page of the run, its lineage as OpenLineage events, and the key plots as Prefect artifacts."""

import base64
from dataclasses import dataclass

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from comem_core.measures.provenance import describe_machine
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import get_stage_logger, is_under_prefect, run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.tables import read_items, read_questions
from tasks.run import Run
from warehouse.connection import open_warehouse
from warehouse.openlineage import write_openlineage_lines
from warehouse.page.data import RunData, collect
from warehouse.records import finish_run

REPORT = Stage(name="report", version="1")
PAGE, EVENTS = "report.html", "openlineage.jsonl"


@dataclass(frozen=True, kw_only=True)
class ReportKey:
    """A page describes one run, so each run has its own."""

    run_id: str


@stage_task(name="write-report")
def write_report(run: Run, knowledge: Reference, benchmark: Reference, scores: Reference) -> Reference:
    """Write the page of this run and its lineage events, and log where the page is."""

    def make(artefact: Partial) -> None:
        from warehouse.page.render import render_page  # imports matplotlib, which is only needed to draw

        asked, stored = read_questions(benchmark).open_pictures(), read_items(knowledge).open_pictures()

        def picture(image_id: str) -> bytes | None:
            return asked.get(image_id) or stored.get(image_id)

        with open_warehouse(run.context.warehouse) as con:
            finish_run(con, run.run_id, status="completed")  # the page comes last and describes a finished run
        with open_warehouse(run.context.warehouse, read_only=True) as con:
            page = render_page(con, run.run_id, images=picture, machine=describe_machine())
            events = write_openlineage_lines(con, run.run_id)
            _show_plots(collect(con, run.run_id))
        for name, text in ((PAGE, page), (EVENTS, events)):
            with artefact.open_file(name) as path:
                path.write_text(text, encoding="utf-8")

    inputs = {"knowledge": knowledge, "benchmark": benchmark, "scores": scores}
    report = run_stage(run, REPORT, ReportKey(run_id=run.run_id), inputs, make)
    if get_plan() is not None:
        return report
    address = (report.folder / PAGE).as_uri()
    get_stage_logger().info("report page: %s", address)
    if is_under_prefect():
        create_link_artifact(address, key="report-page", description="The page of this run (a local file)")
    return report


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
            create_markdown_artifact(f"{picture}\n\n{plot.alt}", key=key, description=key.replace("-", " "))
