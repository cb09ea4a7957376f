"""The report: a static page of the run, its lineage as OpenLineage events, and the key plots as Prefect artifacts."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
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
from tasks.engine.store import ArtefactBusy, Reference, Store
from tasks.engine.telling import get_stage_logger, is_under_prefect, show
from tasks.evaluation.compare import COMPARISON
from tasks.evaluation.drift import EVALUATION_REPORT
from tasks.evaluation.page_links import find_page, name_page
from tasks.rows.tables import read_items, read_questions
from tasks.run import Run
from tasks.training.training_data import find_reference
from warehouse.connection import open_warehouse
from warehouse.openlineage import is_openlineage_address_given, send_openlineage_events, write_openlineage_lines
from warehouse.page.data import Hidden, RunData, collect, find_pictures_of, has_in_gallery
from warehouse.records import finish_run, register_artefact

REPORT = Stage(name="report", version="1")
PAGE, EVENTS = "report.html", "openlineage.jsonl"
COMPARING = (COMPARISON.name, EVALUATION_REPORT.name)
"""The stages whose pages compare evaluations."""


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
        drop_pages_of_killed_runs(run.context, own=artefact.folder.stem)
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
    _send_events(run)
    page = report.folder / PAGE
    get_stage_logger().info("report page: %s", name_page(run.context, page))
    show(create_link_artifact, find_page(run.context, page), key="report-page", description="The page of this run")
    return report


def drop_pages_of_killed_runs(context: Context, *, own: str) -> None:
    """Remove pages that were begun by processes that are gone: each run has a page of its own, so none goes on."""
    store = Store.of(replace(context, lock_wait_seconds=0))
    for fingerprint in store.list_unfinished(REPORT.name):
        with suppress(ArtefactBusy):
            if fingerprint != own:
                with store.lock(REPORT.name, fingerprint):
                    if store.find(REPORT.name, fingerprint) is None:
                        store.remove(REPORT.name, fingerprint)


def _send_events(run: Run) -> None:
    """Send the lineage events where OPENLINEAGE_URL says, if it says so; a server that does not answer is a warning."""
    if not is_openlineage_address_given():
        return
    try:
        with open_warehouse(run.context.warehouse, read_only=True) as con:
            number = send_openlineage_events(con, run.run_id)
    except ValueError as error:
        get_stage_logger().warning("%s", error)
    else:
        get_stage_logger().info("sent %d OpenLineage events", number)


def _render(context: Context, run_id: str, pictured: Sequence[Any], *, machine: str | None) -> str:
    """Return the page of a run, without what was withdrawn from the store."""
    from warehouse.page.render import render_page  # imports matplotlib, which is only needed to draw

    stored, withdrawals = [each.open_pictures() for each in pictured], read_withdrawals(Store.of(context).place)

    def picture(image_id: str) -> bytes | None:
        return next((found for each in stored if (found := each.get(image_id))), None)

    with open_warehouse(context.warehouse, read_only=True) as con:
        items, pictures = list_withdrawn(withdrawals), list_pictures(withdrawals)
        hidden = Hidden(items, {*pictures, *(find_pictures_of(con, items, alone=True) if items else ())})
        return render_page(con, run_id, images=picture, machine=machine, hidden=hidden)


def render_again(context: Context, withdrawal: Withdrawal) -> int:
    """Write the pages of runs again that show what was withdrawn, or taken back; return how many there were.

    In pages that compare evaluations, pictures that are withdrawn now are replaced by an empty one, for good.
    """
    store = Store.of(context)
    with open_warehouse(context.warehouse, read_only=True) as con:
        pictures = find_pictures_of(con, withdrawal.item_ids, alone=False)
        shown = Hidden(set(withdrawal.item_ids), {*list_pictures([withdrawal]), *pictures})
        gone = find_pictures_of(con, list_withdrawn(read_withdrawals(store.place)), alone=True)
        found = [
            each for each in store.list_records(REPORT.name) if has_in_gallery(con, each["recipe"]["run_id"], shown)
        ]
    for record in found:
        _replace_page(context, store, record, PAGE, _render_recorded(context, store, record))
    return len(found) + _empty_pictures(context, store, {name: gone[name] for name in pictures if name in gone})


def _render_recorded(context: Context, store: Store, record: Record) -> str:
    """Return the page of an earlier run; pictures whose artefact is gone are missing in it."""
    pictured = [
        read(found)
        for role, read in (("benchmark", read_questions), ("knowledge", read_items))
        if (found := find_reference(store, record["inputs"].get(role, ""))) is not None
    ]
    return _render(context, record["recipe"]["run_id"], pictured, machine=None)


def _empty_pictures(context: Context, store: Store, pictures: Mapping[str, str]) -> int:
    """Empty these pictures, each of an artefact, in the pages that compare evaluations; return how many had some."""
    from warehouse.page.pictures import EMPTY, make_data_uri

    uris: list[str] = []
    for image_id, artefact in pictures.items():
        knowledge = find_reference(store, artefact)
        data = None if knowledge is None else read_items(knowledge).open_pictures().get(image_id)
        uris += [uri] if data is not None and (uri := make_data_uri(data)) else []
    num = 0
    for record in [each for stage in COMPARING for each in store.list_records(stage)] if uris else ():
        for shard in record["shards"]:
            if shard["file"].endswith(".html"):
                text = (open_folder(record["uri"]) / shard["file"]).read_text(encoding="utf-8")
                emptied = reduce(lambda page, uri: page.replace(uri, EMPTY), uris, text)
                if emptied != text:
                    _replace_page(context, store, record, shard["file"], emptied)
                    num += 1
    return num


def _replace_page(context: Context, store: Store, record: Record, name: str, page: str) -> None:
    """Put another page into a complete artefact; its other files stay."""
    with store.lock(record["stage"], record["fingerprint"]):
        artefact = store.begin(record["stage"], record["fingerprint"])
        with artefact.open_file(name) as path:
            path.write_text(page, encoding="utf-8")
        for measured, value in record["measured"].items():
            artefact.measure(measured, value)
        finished = store.finish(artefact, record)
    with open_warehouse(context.warehouse) as con:
        place = {"folder": open_folder(finished["uri"]), "uri": finished["uri"]}
        register_artefact(con, finished, table=finished.get("table"), **place, replace=True)


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
