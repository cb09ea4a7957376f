"""The training set: a folder that can be copied and trained on, with a card for people and metadata for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.serving.layout import TRAINING_SET_STAGE
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.samples import SampleSet
from tasks.rows.tables import list_shards
from tasks.run import Run
from warehouse.connection import open_warehouse
from warehouse.samples.cards import CardSources, collect_card, render_card
from warehouse.samples.croissant import write_croissant
from warehouse.samples.training_files import make_training_tables

TRAINING_SET = Stage(name=TRAINING_SET_STAGE, version="3")
CARD, CROISSANT, TRAIN = "README.md", "croissant.json", "train"
ROWS_PER_FILE = 4096


@dataclass(frozen=True, kw_only=True)
class JudgedSet(SampleSet):
    """Kept samples with the verdicts that decided they were kept."""

    verdicts: Reference


@dataclass(frozen=True, kw_only=True)
class TrainingSetKey:
    """The card's name, and the benchmarks with which drafts could not be compared; its inputs decide the rest."""

    name: str
    not_compared: tuple[str, ...]
    rows_per_file: int = ROWS_PER_FILE


@stage_task(name="write-card")
def write_card(
    run: Run, knowledge: Reference, sets: Sequence[JudgedSet], not_compared: Mapping[str, str] | None = None
) -> Reference:
    """Write the kept samples of every set as `train-*.parquet`, and what describes them: `README.md` for people, and
    `croissant.json` for programs.

    `not_compared` maps each benchmark with which drafts could not be compared to the reason.
    """
    key = TrainingSetKey(name=run.recipe_name, not_compared=tuple(sorted(not_compared or ())))

    def make(artefact: Partial) -> None:
        tables = make_training_tables(
            drafts=_list_all_shards(sets, "drafts", "draft"),
            questions=_list_all_shards(sets, "questions", "question"),
            items=list_shards(knowledge),
            kept=_list_all_shards(sets, "kept", "sample"),
            rows_per_table=key.rows_per_file,
        )
        for place, table in enumerate(tables):
            artefact.write_shard(f"{TRAIN}-{place:05d}", table)
        sources, pattern = _make_sources(knowledge, sets), f"{TRAIN}-*.parquet"
        with open_warehouse(run.context.warehouse, read_only=True) as con:
            card = collect_card(con, sources)
        files = sorted(artefact.folder.glob(pattern))
        metadata = write_croissant(card, name=key.name, files=files, pattern=pattern, schema=pq.read_schema(files[0]))
        text = render_card(card, sources, name=key.name, files=pattern, not_compared=key.not_compared)
        for name, content in ((CARD, text), (CROISSANT, metadata)):
            with artefact.open_file(name) as path:
                path.write_text(content, encoding="utf-8")

    inputs = {"knowledge": knowledge}
    for place, each in enumerate(sets):
        inputs |= {f"{role}-{place}" if place else role: reference for role, reference in vars(each).items()}
    return run_stage(run, TRAINING_SET, key, inputs, make)


def _list_all_shards(sets: Sequence[SampleSet], role: str, table: str) -> list[Path]:
    return list(chain.from_iterable(list_shards(getattr(each, role), table) for each in sets))


def _make_sources(knowledge: Reference, sets: Sequence[JudgedSet]) -> CardSources:
    by_role = {
        role: tuple(getattr(each, role).fingerprint for each in sets)
        for role in ("questions", "drafts", "verdicts", "kept")
    }
    return CardSources(knowledge=(knowledge.fingerprint,), **by_role)
