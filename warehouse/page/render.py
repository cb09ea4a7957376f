"""Renders the page of one run as a single HTML file: no script, no external address, pictures and plots inside.

Owns the arrangement of the collected data for the templates. Independent of SQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from duckdb import DuckDBPyConnection

from warehouse.declared import read_conditions
from warehouse.page import wording
from warehouse.page.data import Hidden, RunData, collect, flatten_recipe
from warehouse.page.drawing import draw_lineage
from warehouse.page.environment import make_environment
from warehouse.page.head import (
    PageHead,
    find_recorded_backbone,
    find_recorded_corpus,
    name_corpus,
    shorten_run,
    write_count,
)
from warehouse.page.headline import compute_headline
from warehouse.page.pictures import PagePictures
from warehouse.page.plots import draw_funnel, draw_loss, score_plot

HIDDEN = {"title": None, "text": "This item was withdrawn.", "image_id": None}
OVERALL_SPLITS = ("all", "overall")  # names of the split whose score stands for the whole benchmark


def render_page(
    con: DuckDBPyConnection,
    run_id: str,
    *,
    images: Callable[[str], bytes | None],
    machine: str | None = None,
    hidden: Hidden | None = None,
) -> str:
    """Return the page of a run as HTML.

    `images` returns the bytes of an image_id, or None if it does not have the image; `machine` describes where the run
    ran. Of what is `hidden`, neither picture nor text is shown, and no question about it. The page says which parts
    the run did not reach. An unknown run_id is a ValueError.
    """
    data, hidden = collect(con, run_id), hidden or Hidden()
    conditions = wording.ConditionWords(read_conditions(con))
    return (
        make_environment()
        .get_template("page.html.j2")
        .render(
            described=describe_run(data),
            data=data,
            run=data.run,
            headline=compute_headline(
                data.scores,
                data.differences,
                data.run,
                text_reader=data.reader["name"] if data.reader["text_only"] else None,
                conditions=conditions,
            ),
            machine=machine,
            score_tables=[
                _make_score_table(*key, data.scores, conditions)
                for key in sorted(
                    {(row["benchmark"], row["metric"]) for row in data.scores},
                    key=lambda key: (key[0], wording.order_metric(key[1])),
                )
            ],
            conditions=_list_conditions(data, conditions),
            gallery=[_make_gallery_card(card, conditions, hidden) for card in data.gallery if not hidden.has(card)],
            funnel_plot=draw_funnel(data.funnel) if data.funnel else None,
            trainings=[(each, draw_loss(each.losses)) for each in data.trainings],
            drawing=draw_lineage(data.artefacts, data.edges),
            num_saved=sum(row["made_seconds"] or 0 for row in data.stages if row["action"] == "reused"),
            corpus=find_recorded_corpus(data.recipe),
            backbone=find_recorded_backbone(data.recipe),
            recipe=json.dumps(data.recipe, indent=2, ensure_ascii=False, sort_keys=True),
            pictures=PagePictures(images),
        )
    )


def describe_run(data: RunData) -> PageHead:
    """Describe the page of a run: corpus, drafts, training and questions, and whether it failed."""
    run, funnel = data.run, data.funnel
    about = name_corpus(data.recipe)
    seed = flatten_recipe((data.recipe or {}).get("training")).get("seed")
    about += [f"reader {data.reader['name']}"] if data.reader["name"] else []
    about += [f"seed {seed}"] if seed is not None else []
    if funnel is not None:
        about.append(f"{wording.write_number(funnel.kept)} of {write_count(funnel.drafts, 'draft')} kept")
    if data.trainings:
        num_steps = max(row["step"] for each in data.trainings for row in each.losses)
        about.append(write_count(num_steps, "training step"))
    asked: dict[str, int] = {}
    for row in data.scores:
        asked[row["benchmark"]] = max(asked.get(row["benchmark"], 0), row["n"] or 0)
    about += [f"{write_count(num, 'question')} of {name}" for name, num in sorted(asked.items())]
    nothing_kept = funnel is not None and not funnel.kept and run["status"] == "failed"
    return PageHead(
        title=f"{run['recipe_name']} · {shorten_run(run['run_id'])}",
        about="; ".join(about),
        result="failed: no draft was kept" if nothing_kept else run["status"],
    )


def _make_score_table(benchmark: str, metric: str, scores: Sequence[dict], conditions: wording.ConditionWords) -> dict:
    """Arrange one benchmark's scores by condition (rows) and split (columns), with their plot."""
    scores = [row for row in scores if (row["benchmark"], row["metric"]) == (benchmark, metric)]
    scores.sort(key=lambda row: (conditions.order(row["condition"]), row["k"] or 0, _order_split(row["split"])))
    splits = sorted({row["split"] for row in scores}, key=_order_split)
    lines: dict[tuple[str, int | None], dict[str, dict]] = {}
    for row in scores:
        lines.setdefault((row["condition"], row["k"]), {})[row["split"]] = row
    return {
        "benchmark": benchmark,
        "metric": metric,
        "splits": splits,
        "rows": [
            {
                "condition": condition,
                "k": k,
                "by_split": by_split,
                "any": by_split.get(splits[0]) or next(iter(by_split.values())),
            }
            for (condition, k), by_split in lines.items()
        ],
        "plot": score_plot(scores, splits),
    }


def _order_split(split: str) -> tuple[bool, str]:
    return (split not in OVERALL_SPLITS, split)


def _list_conditions(data: RunData, conditions: wording.ConditionWords) -> list[dict]:
    """List the run's conditions with their meanings; for a run without scores, those of its recipe."""
    names = {row["condition"] for row in (data.scores or data.differences)}
    names = names or set(((data.recipe or {}).get("evaluation") or {}).get("conditions") or ())
    ordered = sorted(names, key=conditions.order)
    return [{"name": name, "meaning": conditions.meaning(name, data.reader)} for name in ordered]


def _make_gallery_card(question: dict, conditions: wording.ConditionWords, hidden: Hidden) -> dict:
    """Put a question's answers in the order that conditions have everywhere, and hide items that were withdrawn."""
    answers = sorted(question["answers_by"], key=lambda row: conditions.order(row["condition"]))
    items = [item | HIDDEN if item["item_id"] in hidden.item_ids else item for item in question["items"]]
    return question | {"answers_by": answers, "items": items}
