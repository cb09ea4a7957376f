"""Retrieval: finds the k nearest items of each question, in rank order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.index.shown import PictureItems
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.items import Question
from comem_core.knowledge.retrieval import Restriction, Side, find_items, find_items_by_both
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE
from comem_core.recipes.retrieval import IMAGE, TEXT, name_sides
from tasks.data.embedders import find_embedder, name_embedders
from tasks.data.index import PICTURES
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.tables import read_questions
from tasks.run import Run
from warehouse.schemas import check_rows

RETRIEVAL = Stage(
    name="retrieval",
    version="4",
    table="retrieval",
    explained=Explanation(roles=("retrieved",), extent=("k",)),
)


@dataclass(frozen=True, kw_only=True)
class RetrievalKey:
    """How many items are retrieved, by picture or text, and which items are excluded."""

    by: Literal["image", "text", "both"]
    text_weight: float | None = field(default=None, metadata=OFF_AT_NONE)
    k: int
    same_language: bool = field(default=False, metadata=OFF_AT_FALSE)
    exclude_own_image: bool = field(default=False, metadata=OFF_AT_FALSE)


@stage_task(name="retrieve")
def retrieve(run: Run, index: Reference, questions: Reference) -> Reference:
    """Find the k items nearest to each question, by its picture, its text, or both."""
    recipe = run.recipe.retrieval
    part = RetrievalKey(
        by=recipe.by,
        text_weight=recipe.text_weight if recipe.by == "both" else None,
        k=recipe.k,
        same_language=recipe.same_language,
        exclude_own_image=recipe.exclude_own_image,
    )

    def make(artefact: Partial) -> None:
        units = range(questions.num_rows)
        make_shards("retrieve", run.context, artefact, units, bind(_make_searcher, run, index, questions))
        shards = [pq.read_table(path, columns=["item_ids"]) for path in sorted(artefact.folder.glob("part-*.parquet"))]
        found = pa.concat_tables(shards)["item_ids"].to_pylist()
        if without := sum(not item_ids for item_ids in found):
            why = ": no item is in their language" if recipe.same_language else ""
            get_stage_logger().warning("%d of %d questions got no item%s", without, len(found), why)

    inputs = name_embedders(run) | {"index": index, "questions": questions}
    expected = questions.num_rows
    return run_stage(run, RETRIEVAL, part, inputs, make, expects=expected)


def _make_searcher(run: Run, index: Reference, questions: Reference) -> Work:
    recipe, sides = run.recipe.retrieval, name_sides(run.recipe.retrieval)
    embedders = {side: find_embedder(run, name) for side, name in sides.items()}
    indexes = {side: VectorIndex.load(Path(index.uri) / side) for side in sides}
    shown, asked = PictureItems.open(Path(index.uri) / PICTURES), read_questions(questions)

    def queries(side: str, chosen: Sequence[Question]) -> Side:
        if side == IMAGE:
            return Side(indexes[side], embedders[side].embed_images([question.image for question in chosen]))
        return Side(
            indexes[side], embedders[side].embed_texts([question.question for question in chosen], as_query=True)
        )

    def work(batch: Sequence[int]) -> pa.Table:
        started = time.perf_counter()
        chosen = [asked[place] for place in batch]
        if not chosen:
            return check_rows("retrieval", [])
        among = Restriction(
            languages=[question.language for question in chosen] if recipe.same_language else None,
            excluded=[shown.find_items(question.image_id) for question in chosen] if recipe.exclude_own_image else None,
        )
        found = {side: queries(side, chosen) for side in sides}
        if recipe.by == "both":
            hits = find_items_by_both(
                found[IMAGE], found[TEXT], text_weight=recipe.text_weight, k=recipe.k, among=among
            )
        else:
            hits = find_items(found[recipe.by], k=recipe.k, among=among)
        seconds = (time.perf_counter() - started) / len(chosen)
        rows = [
            {"question_id": question.question_id, "item_ids": list(hit.item_ids), "scores": list(hit.scores)}
            | {"seconds": seconds}
            for question, hit in zip(chosen, hits, strict=True)
        ]
        return check_rows("retrieval", rows)

    return work
