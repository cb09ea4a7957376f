"""Retrieval: finds the k nearest items of each question, in rank order."""

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial as bind

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.index.shown import PictureItems
from comem_core.knowledge.index.vector_index import NAME_FILE, VectorIndex
from comem_core.knowledge.retrieval import Restriction
from comem_core.knowledge.searching import PICTURES, Searcher
from comem_core.recipes.retrieval import name_sides
from comem_core.serving.layout import RETRIEVAL_STAGE
from comem_core.serving.search_keys import RetrievalKey
from tasks.data.embedders import find_embedder, name_embedders
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import read_columns, read_questions
from tasks.run import Run
from warehouse.schemas import check_rows

RETRIEVAL = Stage(
    name=RETRIEVAL_STAGE,
    version="5",
    table="retrieval",
    explained=Explanation(roles=("retrieved",), extent=("k",)),
    of="questions",
)


@stage_task(name="retrieve")
def retrieve(run: Run, index: Reference, questions: Reference) -> Reference:
    """Find the k items nearest to each question, by its picture, its text, or both."""
    recipe = run.recipe.retrieval
    key = RetrievalKey(
        by=recipe.by,
        text_weight=recipe.text_weight if recipe.by == "both" else None,
        k=recipe.k,
        same_language=recipe.same_language,
        exclude_own_image=recipe.exclude_own_image,
    )

    def make(artefact: Partial) -> None:
        units = range(questions.num_rows)
        make_shards(run.context, artefact, units, bind(_make_searcher, run, index, questions))
        shards = [pq.read_table(path, columns=["item_ids"]) for path in sorted(artefact.folder.glob("part-*.parquet"))]
        found = pa.concat_tables(shards)["item_ids"].to_pylist()
        if without := sum(not item_ids for item_ids in found):
            get_stage_logger().warning("%d of %d questions got no item", without, len(found))
        if recipe.same_language:
            _tell_fallback(artefact, index, questions)

    inputs = name_embedders(run) | {"index": index, "questions": questions}
    expected = questions.num_rows
    return run_stage(run, RETRIEVAL, key, inputs, make, expects=expected)


def _tell_fallback(artefact: Partial, index: Reference, questions: Reference) -> None:
    """Say, and record, which questions were searched in every language because no item is in theirs."""
    folders = [path.parent for path in index.folder.glob(f"*/{NAME_FILE}")]
    indexes = [VectorIndex.load(folder) for folder in folders]
    asked = Counter(row["language"] for row in read_columns(questions, "language"))
    missing = {
        language: count
        for language, count in sorted(asked.items())
        if not any(each.has_language(language) for each in indexes)
    }
    if missing:
        artefact.measure("searched_every_language", missing)
        get_stage_logger().warning(
            "%d of %d questions are in a language without items (%s); items in every language were searched for them",
            sum(missing.values()),
            asked.total(),
            ", ".join(missing),
        )


def _make_searcher(run: Run, index: Reference, questions: Reference) -> Work:
    recipe = run.recipe.retrieval
    embedders = {side: find_embedder(run, name) for side, name in name_sides(recipe).items()}
    searcher = Searcher.open(index.folder, embedders=embedders, by=recipe.by, text_weight=recipe.text_weight)
    shown, asked = PictureItems.open(index.folder / PICTURES), read_questions(questions)

    def work(batch: Sequence[int]) -> pa.Table:
        started = time.perf_counter()
        chosen = [asked[place] for place in batch]
        if not chosen:
            return check_rows("retrieval", [])
        among = Restriction(
            languages=[question.language for question in chosen] if recipe.same_language else None,
            excluded=[shown.find_items(question.image_id) for question in chosen] if recipe.exclude_own_image else None,
        )
        hits = searcher.find(chosen, k=recipe.k, among=among)
        seconds = (time.perf_counter() - started) / len(chosen)
        rows = [
            {"question_id": question.question_id, "item_ids": list(hit.item_ids), "scores": list(hit.scores)}
            | {"seconds": seconds}
            for question, hit in zip(chosen, hits, strict=True)
        ]
        return check_rows("retrieval", rows)

    return work
