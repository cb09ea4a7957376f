"""The results of a flow run, read from the warehouse for a terminal: scores by condition, answers, page and memory."""

from uuid import UUID

from comem_core.addresses.copies import open_folder
from comem_core.serving.layout import BANK_STAGE, SEARCHES_STAGE
from tasks.engine.context import Context
from tasks.engine.store import Store
from tasks.evaluation.page_links import name_page
from warehouse.connection import open_warehouse
from warehouse.declared import read_conditions
from warehouse.examples import collect_examples
from warehouse.page.searches import describe_searches
from warehouse.page.wording import ConditionWords, write_interval, write_percent
from warehouse.sql import read_report_rows

NUM_EXAMPLES = 3


def describe_results(context: Context, flow_run_id: UUID) -> list[str]:
    """Return the lines to print about a run's scores, page and memory, or a line that says that there are none."""
    if not context.warehouse.exists():
        return [f"(no warehouse at {context.warehouse}: this flow recorded nothing)"]
    with open_warehouse(context.warehouse, read_only=True) as con:
        found = con.execute("SELECT run_id FROM run WHERE flow_run_id = ?", [str(flow_run_id)]).fetchone()
        if found is None:
            return ["(the flow recorded no run in the warehouse)"]
        stages = read_report_rows(con, "stage_table", {"run_id": found[0]})
        scores = read_report_rows(con, "score_table", {"run_id": found[0]})
        searched = read_report_rows(con, "tried_searches", {"run_id": found[0]})
        [reader] = read_report_rows(con, "reader", {"run_id": found[0]})
        conditions = ConditionWords(read_conditions(con))
        asked = collect_examples(con, found[0], num=NUM_EXAMPLES)
    read_by = [f"answered by the text-only {reader['name']} ({reader['weights']})"] if reader["text_only"] else []
    if searched:
        told = describe_searches([row for row in searched if row["language"] is None])
        return ["", *told, *_list_pages(context, stages, SEARCHES_STAGE)]
    lines = ["", *read_by, *_write_scores(scores, conditions), "", *_write_examples(asked)]
    lines += [f"results: {Store.of(context).place}"]
    from tasks.evaluation.report import REPORT  # imported here because it also imports the drawing of pages

    lines += _list_pages(context, stages, REPORT.name)
    return lines + _describe_memory(context, stages)


def has_completed(context: Context, flow_run_id: UUID) -> bool:
    """Tell whether a run that ended well is recorded on this machine."""
    if not context.warehouse.exists():
        return False
    with open_warehouse(context.warehouse, read_only=True) as con:
        asked = "SELECT 1 FROM run WHERE flow_run_id = ? AND status = 'completed'"
        return con.execute(asked, [str(flow_run_id)]).fetchone() is not None


def _write_scores(scores: list[dict], conditions: ConditionWords) -> list[str]:
    if not scores:
        return ["(this flow records no scores)"]
    asked = ("benchmark", "condition", "items", "split")
    heading = (*asked, "metric", "right", "95 % interval", "n", "prompt tokens", "vectors")
    ordered = sorted(scores, key=lambda row: (row["benchmark"], row["split"], conditions.order(row["condition"])))
    table = [heading, *(_make_score_cells(score) for score in ordered)]
    if len({score["encoder_name"] for score in scores}) > 1:
        names = ["encoder", *(score["encoder_name"] or "" for score in ordered)]
        table = [(name, *cells) for name, cells in zip(names, table, strict=True)]
    return _align_columns(table)


def _make_score_cells(score: dict) -> tuple[str, ...]:
    return (
        score["benchmark"],
        score["condition"],
        _write_count(score["k"]),
        score["split"] or "",
        score["metric"],
        write_percent(score["value"]),
        write_interval(score["low"], score["high"]),
        _write_count(score["n"]),
        f"{score['prompt_tokens_mean'] or 0:.0f}",
        f"{score['memory_vectors'] or 0:.0f}",
    )


def _write_examples(asked: list[dict]) -> list[str]:
    """Return questions with their answers from memory and without it; none if both were not asked."""
    both = [each for each in asked if each["memory"] and each["none"]]
    if not both:
        return []
    lines = [f"{len(both)} of the questions (by a hash of their ids, whatever was answered):"]
    for each in both:
        gold = " / ".join((each["answers"] or ["not recorded"])[:2])
        lines.append(f"  {each['question'] or each['question_id']}  right: {gold}")
        lines += [
            f"    {words}: {each[name]['answer']} ({'right' if each[name]['correct'] else 'wrong'})"
            for name, words in (("memory", "from memory"), ("none", "without memory"))
        ]
    return [*lines, ""]


def _write_count(number: int | None) -> str:
    return "" if number is None else str(number)


def _align_columns(table: list[tuple[str, ...]]) -> list[str]:
    """Align cells under their headings."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _list_pages(context: Context, stages: list[dict], stage: str) -> list[str]:
    """Return a line for each page that a stage wrote."""
    folders = [open_folder(each["uri"]) for each in stages if each["stage"] == stage and each["uri"]]
    pages = [page for folder in folders for page in sorted(folder.glob("*.html"))]
    return [f"report page: {name_page(context, page)}" for page in pages]


def _describe_memory(context: Context, stages: list[dict]) -> list[str]:
    """Return how to open the run's bank; of several, the first, because those of other corpora come after it."""
    from tasks.evaluation.opening import describe_opening  # imported here because it also imports the stages

    made = (Store.of(context).find(BANK_STAGE, each["fingerprint"]) for each in stages if each["stage"] == BANK_STAGE)
    record = next((each for each in made if each is not None), None)
    opening = None if record is None else describe_opening(context, record)
    return [] if opening is None else opening.lines
