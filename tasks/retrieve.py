"""Retrieval: an index over the items' pictures, and for each question the k nearest in rank order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.retrieval import ImageIndex
from tasks.models import reader
from tasks.partial import Partial
from tasks.rows import read_items, read_questions
from tasks.run import Run
from tasks.shards import Work, make_shards
from tasks.stage import run_stage, stage_task
from tasks.store import Reference
from warehouse.schemas import check_rows

INDEX = "index"


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Whose embedding of a picture, and how large a picture it sees."""

    embedder: str
    grid: tuple[int, int]
    visual_tokens: VisualTokens | None


@dataclass(frozen=True, kw_only=True)
class Searching:
    """How many items, and among which."""

    k: int
    same_language: bool
    visual_tokens: VisualTokens | None


@stage_task(name="build-index")
def build_index(run: Run, knowledge: Reference) -> Reference:
    """Embed every different picture once, and index the items by them."""
    part = Embedding(
        embedder=run.recipe.retrieval.embedder,
        grid=run.recipe.retrieval.grid,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )
    if part.embedder != "backbone":
        raise ValueError(f"unknown embedder {part.embedder!r}; expected 'backbone' (the reader's own vision tower)")

    def make(artefact: Partial) -> None:
        items = read_items(knowledge)
        pictures = sorted({item.image_id: item_id for item_id, item in items.items()}.items())
        make_shards("build-index", run.context, artefact, pictures, bind(_item_embedder, run, knowledge))
        shards = sorted(artefact.folder.glob("part-*.parquet"))
        rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
        found = {row["image_id"]: np.frombuffer(row["embedding"], dtype="<f4") for row in rows}
        index = ImageIndex(
            np.stack([found[item.image_id] for item in items.values()]),
            item_ids=list(items),
            languages=[item.language for item in items.values()],
            embedder=run.backbone.fingerprint,
        )
        with artefact.open_folder(INDEX) as folder:
            index.save(folder)

    return run_stage(run, "index", part, {"backbone": run.backbone, "knowledge": knowledge}, make, version="1")


def _item_embedder(run: Run, knowledge: Reference) -> Work:
    backbone, items = reader(run), read_items(knowledge)
    options = _picture_options(run)

    def work(batch: Sequence[tuple[str, str]]) -> pa.Table:
        found_ND = backbone.pooled_images([items[item_id].picture for _, item_id in batch], **options)
        raw = [row.tobytes() for row in found_ND.numpy().astype("<f4")]
        return pa.table({"image_id": [image_id for image_id, _ in batch], "embedding": pa.array(raw, pa.binary())})

    return work


@stage_task(name="retrieve")
def retrieve(run: Run, index: Reference, questions: Reference) -> Reference:
    """Find the k items whose pictures are nearest to each question's picture."""
    recipe = run.recipe.retrieval
    part = Searching(
        k=recipe.k,
        same_language=recipe.same_language,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )

    def make(artefact: Partial) -> None:
        units = list(range(questions.num_rows))
        make_shards("retrieve", run.context, artefact, units, bind(_searcher, run, index, questions))

    inputs = {"backbone": run.backbone, "index": index, "questions": questions}
    return run_stage(run, "retrieval", part, inputs, make, table="retrieval", version="1")


def _searcher(run: Run, index: Reference, questions: Reference) -> Work:
    backbone, found, asked = reader(run), ImageIndex.load(Path(index.uri) / INDEX), read_questions(questions)
    recipe, options = run.recipe.retrieval, _picture_options(run)

    def work(batch: Sequence[int]) -> pa.Table:
        if not batch:
            return check_rows("retrieval", [])
        chosen = [asked[place] for place in batch]
        queries_QD = backbone.pooled_images([question.image for question in chosen], **options).numpy()
        languages = [question.language for question in chosen] if recipe.same_language else None
        hits = found.search(queries_QD, k=recipe.k, languages=languages)
        rows = [
            {"question_id": question.question_id, "item_ids": list(hit.item_ids), "scores": list(hit.scores)}
            for question, hit in zip(chosen, hits, strict=True)
        ]
        return check_rows("retrieval", rows)

    return work


def _picture_options(run: Run) -> dict[str, Any]:
    return {"visual_tokens": run.recipe.training.encoder.item_visual_tokens, "grid": run.recipe.retrieval.grid}
