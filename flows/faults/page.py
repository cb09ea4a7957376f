"""Writes the table of `docs/reliability.md`: a row for each measure, with a sentence about what was done."""

import re
from collections.abc import Mapping
from pathlib import Path

from comem_core.measures.results import RESULTS, read_results
from flows.faults.single import FAULTS

TOPIC, PAGE = "reliability", Path("docs/reliability.md")
EMPTY = f"<!-- results: {TOPIC} -->\n| measure | value | unit | n | what |\n| --- | --- | --- | --- | --- |\n"
TABLE = re.compile(rf"<!-- results: {TOPIC} -->\n(?:\|.*\n)*")
OF_FAULT = "wrong_after_"
OF_KILLS: Mapping[str, str] = {
    "random_kills": "runs were killed at random moments; `n` is the number of runs",
    "starts_after_kills": "so often were they started until all had ended well",
    "wrong_after_kills": "what was found wrong after the kills",
    "stages_killed_in": "different stages that were unfinished at a kill",
    "kills_flow": "of the process of a run",
    "kills_actor": "of a worker of a stage",
    "kills_training_worker": "of the worker that trains",
    "kills_raylet": "of `raylet`",
    "kills_ray_head": "of Ray's head, `gcs_server`",
    "kills_prefect_server": "of Prefect's server",
    "kills_prefect_worker": "of Prefect's worker",
    "rows_lost": "rows of the runs without a fault that these lack or have otherwise; `n` is the number of rounds",
}


def write_table(root: Path = Path()) -> Path:
    """Write a row for each stored measure into the page's table, and return the page."""
    page = root / PAGE
    rows = [
        f"| `{row['measure']}` | {row['value']} | {row['unit']} | {row['n']} | {describe_measure(row['measure'])} |\n"
        for row in read_results(root / RESULTS / f"{TOPIC}.json")
    ]
    text = TABLE.sub(lambda _: EMPTY + "".join(rows), page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
    return page


def describe_measure(measure: str) -> str:
    """Return the sentence of a measure: of a fault, that of the function that makes it."""
    if measure in OF_KILLS:
        return OF_KILLS[measure]
    return " ".join((FAULTS[measure.removeprefix(OF_FAULT)].__doc__ or "").split()).rstrip(".")
