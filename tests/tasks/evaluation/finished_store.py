"""A store as the stages leave it: items, index, bank and retrieved items, with the shipped encoder as its own."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from comem_core.backbone.finding import find_backbone_folder, hash_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.description import find_encoder_folder
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.data.benchmarks import BENCHMARK
from tasks.data.index import build_index
from tasks.data.ingest import KNOWLEDGE
from tasks.data.retrieve import retrieve
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.evaluation.exam import Exam
from tasks.memory.encode import encode_memory
from tasks.rows.tables import make_item_table, make_question_table
from tasks.run import Run
from tasks.training.encoder import ENCODER

ITEMS = load_knowledge_items()[:60]  # twelve countries in five languages
QUESTIONS = load_benchmark_questions("dev")[:20]


@dataclass(frozen=True)
class Made:
    """What decides an artefact that a test puts into a store."""

    name: str


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder `.comem`, and its references."""

    place: Path
    run: Run
    knowledge: Reference
    questions: Reference
    encoder: Reference
    bank: Reference
    index: Reference
    retrieved: Reference

    def make_exam(self, **changed: Reference) -> Exam:
        """Return the exam of its questions, with these references changed."""
        exam = Exam(
            knowledge=self.knowledge,
            encoder=self.encoder,
            bank=self.bank,
            questions=self.questions,
            retrieved=self.retrieved,
        )
        return replace(exam, **changed)


def make_run(context: Context) -> Run:
    folder = find_backbone_folder("tiny")
    backbone = Reference(stage="backbone", fingerprint=hash_backbone(folder), uri=str(folder), num_rows=0)
    recipe = find_recipe("tiny_cpu")
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=backbone)


def put(run: Run, stage: Stage, name: str, table: pa.Table) -> Reference:
    """Put rows into the store, as ingesting and collecting do."""

    def make(artefact: Partial) -> None:
        artefact.write_shard("part-00000", table)

    return run_stage(run, stage, Made(name), {}, make)


def put_encoder(run: Run, name: str, folder: Path) -> Reference:
    """Put the files of an encoder into the store, as training does."""

    def make(artefact: Partial) -> None:
        for file in ("encoder.safetensors", "encoder.json"):
            with artefact.open_file(file) as path:
                shutil.copy(folder / file, path)

    return run_stage(run, replace(ENCODER, table=None), Made(name), {"backbone": run.backbone}, make)


def finish_run(context: Context, items: Sequence[KnowledgeItem], questions: Sequence[Question]) -> Finished:
    run = make_run(context)
    knowledge = put(run, KNOWLEDGE, f"{len(items)} items", make_item_table(items))
    asked = put(run, BENCHMARK, f"{len(questions)} questions", make_question_table(questions))
    encoder = put_encoder(run, "trained", find_encoder_folder("tiny-encoder"))
    index = build_index.fn(run, knowledge)
    bank = encode_memory.fn(run, knowledge, encoder)
    retrieved = retrieve.fn(run, index, asked)
    return Finished(context.store.parent, run, knowledge, asked, encoder, bank, index, retrieved)
