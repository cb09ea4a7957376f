"""Questions: the benchmark's training split, what the VLM asks itself, and the benchmark's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from itertools import islice

import pyarrow as pa

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.knowledge.items import KnowledgeItem, content_id
from comem_core.synthesis.generation import ask_about
from comem_core.synthesis.prompts import prompt_set
from tasks.models import reader
from tasks.partial import Partial
from tasks.rows import question_table, read_items
from tasks.run import Run
from tasks.shards import Work, make_shards
from tasks.stage import run_stage, stage_task
from tasks.store import Reference


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """Which questions of which benchmark, by the revision of its data."""

    benchmark: str
    revision: str
    part: str
    num_questions: int | None


@dataclass(frozen=True, kw_only=True)
class Posing:
    """Which seeds, how many items the VLM asks about, and in which words it is told to."""

    benchmark: str
    revision: str
    num_seed_questions: int
    num_asked_items: int
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None


@stage_task(name="collect-benchmark")
def collect_benchmark(run: Run) -> Reference:
    """Take the benchmark's questions."""
    recipe = run.recipe.evaluation
    benchmark = benchmark_named(recipe.benchmark)
    part = Collecting(
        benchmark=benchmark.name,
        revision=benchmark.revision(),
        part=recipe.part,
        num_questions=recipe.num_questions,
    )

    def make(artefact: Partial) -> None:
        questions = islice(benchmark.load(recipe.part), recipe.num_questions)
        artefact.write_shard("part-00000", question_table(questions))

    return run_stage(run, "benchmark", part, {}, make, table="question", version="1")


@stage_task(name="pose-questions")
def pose_questions(run: Run, knowledge: Reference) -> Reference:
    """Take seed questions from the benchmark's training split, and let the VLM ask about items that none is about.

    What the benchmark asks for is left out: its entities, and its facts about known entities.
    """
    recipe = run.recipe.synthesis
    assert recipe.seeds is not None
    benchmark = benchmark_named(recipe.seeds)
    part = Posing(
        benchmark=benchmark.name,
        revision=benchmark.revision(),
        num_seed_questions=recipe.num_seed_questions,
        num_asked_items=recipe.num_asked_items,
        prompts_sha256=prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )

    def make(artefact: Partial) -> None:
        seeds = list(islice(benchmark.seeds(), recipe.num_seed_questions))
        artefact.write_shard("part-seeds", question_table(seeds))
        units = _requests(run, knowledge, asked_about={seed.gold_item_id for seed in seeds})
        make_shards("pose-questions", run.context, artefact, units, bind(_asker, run, knowledge))

    inputs = {"backbone": run.backbone, "knowledge": knowledge}
    return run_stage(run, "questions", part, inputs, make, table="question", version="1")


def _requests(run: Run, knowledge: Reference, *, asked_about: set[str | None]) -> list[tuple[str, str]]:
    """Pairs of (item, kind): items without a seed, in an order that a hash decides, in every kind there is."""
    recipe = run.recipe.synthesis
    prompts, benchmark = prompt_set(recipe.prompts), benchmark_named(run.recipe.evaluation.benchmark)
    held_out, held_out_facts = benchmark.held_out()
    free = [
        item
        for item in read_items(knowledge).values()
        if item.item_id not in asked_about and item.entity_id not in held_out
    ]
    chosen = sorted(free, key=lambda item: content_id("asked", item.item_id))[: recipe.num_asked_items]
    return [
        (item.item_id, kind)
        for item in chosen
        for kind in prompts.kinds(item.language)
        if (item.entity_id, kind) not in held_out_facts
    ]


def _asker(run: Run, knowledge: Reference) -> Work:
    backbone, items = reader(run), read_items(knowledge)
    recipe = run.recipe.synthesis
    options = {
        "max_new_tokens": recipe.max_new_tokens,
        "visual_tokens": run.recipe.training.encoder.item_visual_tokens,
    }

    def work(batch: Sequence[tuple[str, str]]) -> pa.Table:
        requests: list[tuple[KnowledgeItem, str]] = [(items[item_id], kind) for item_id, kind in batch]
        asked = ask_about(backbone, requests, prompt_set(recipe.prompts), **options) if requests else []
        return question_table(asked)

    return work
