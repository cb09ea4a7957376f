"""Scoring: every benchmark question under every condition, one prediction each; then scores with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

import pyarrow as pa
import torch
from prefect.artifacts import create_table_artifact

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.evaluation.conditions import ItemChooser, Shown, condition_named
from comem_core.evaluation.runner import Asking, predict
from comem_core.evaluation.scores import Scoring as HowScored
from comem_core.evaluation.scores import mark_rows, score_rows
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes.recipe import EvaluationRecipe
from comem_core.synthesis.prompts import prompt_set
from tasks.encode import read_bank
from tasks.models import encoder_of
from tasks.partial import Partial
from tasks.rows import read_items, read_questions, read_rows
from tasks.run import Run
from tasks.shards import Work, make_shards
from tasks.stage import run_stage, stage_task, under_prefect
from tasks.store import Reference
from warehouse.schemas import check_rows


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What decides an answer besides question, items and encoder."""

    conditions: tuple[str, ...]
    k: int
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The metric and its resampling are the benchmark's; the version of this stage covers them."""

    benchmark: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Everything that answering needs, by reference."""

    knowledge: Reference
    encoder: Reference
    bank: Reference
    questions: Reference
    retrieved: Reference


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One question under one condition, with the ids of the items it is shown."""

    place: int
    condition: str
    item_ids: tuple[str, ...]


@stage_task(name="answer-benchmark")
def answer_benchmark(
    run: Run, knowledge: Reference, encoder: Reference, bank: Reference, questions: Reference, retrieved: Reference
) -> Reference:
    """Ask the reader every question under every condition of the recipe."""
    recipe = run.recipe.evaluation
    exam = Exam(knowledge=knowledge, encoder=encoder, bank=bank, questions=questions, retrieved=retrieved)
    part = Answering(
        conditions=recipe.conditions,
        k=recipe.k,
        prompts_sha256=prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        visual_tokens=run.recipe.training.encoder.query_visual_tokens,
    )

    def make(artefact: Partial) -> None:
        make_shards("answer-benchmark", run.context, artefact, _units(recipe, exam), bind(_examiner, run, exam))

    inputs = {"backbone": run.backbone} | vars(exam)
    asked = questions.num_rows * len(recipe.conditions)
    return run_stage(run, "predictions", part, inputs, make, table="prediction", version="1", expects=asked)


def _units(recipe: EvaluationRecipe, exam: Exam) -> list[_Unit]:
    """All questions condition by condition, each with its items; grouped by condition, prompts of a batch are alike."""
    questions = read_questions(exam.questions)
    shown = Shown(
        retrieved={row["question_id"]: row["item_ids"] for row in read_rows(exam.retrieved)},
        entity_of=read_items(exam.knowledge).entities(),
    )
    chooser = ItemChooser(questions, shown)
    return [
        _Unit(place=place, condition=name, item_ids=chooser.items_for(name, question.question_id, k=recipe.k))
        for name in recipe.conditions
        for place, question in enumerate(questions)
    ]


def _examiner(run: Run, exam: Exam) -> Work:
    encoder, bank = encoder_of(run, exam.encoder), read_bank(exam.bank, encoder=exam.encoder)
    items, questions = read_items(exam.knowledge), read_questions(exam.questions)
    recipe = run.recipe.evaluation

    def work(batch: Sequence[_Unit]) -> pa.Table:
        askings = []
        for unit in batch:
            in_prompt = condition_named(unit.condition).place == "prompt"
            askings.append(
                Asking(
                    question=questions[unit.place],
                    condition=unit.condition,
                    k=recipe.k,
                    prompt_items=tuple(items[item_id] for item_id in unit.item_ids) if in_prompt else (),
                    item_ids=unit.item_ids,
                    memory=_memory(unit, encoder, bank, k=recipe.k),
                )
            )
        rows = predict(
            encoder,
            askings,
            prompt_set(recipe.prompts),
            benchmark=benchmark_named(recipe.benchmark),
            max_new_tokens=recipe.max_new_tokens,
        )
        return check_rows("prediction", rows)

    return work


def _memory(unit: _Unit, encoder: MemoryEncoder, bank: Bank, *, k: int) -> torch.Tensor:
    condition = condition_named(unit.condition)
    if condition.learned_nothing:
        return encoder.empty_memory().repeat(k, 1)
    return bank.of(unit.item_ids if condition.place == "memory" else ())


@stage_task(name="score-predictions")
def score_predictions(run: Run, questions: Reference, predictions: Reference) -> Reference:
    """Aggregate predictions into scores with 95 % intervals, and show them in the Prefect UI."""
    recipe = run.recipe.evaluation
    benchmark = benchmark_named(recipe.benchmark)

    def make(artefact: Partial) -> None:
        answered = list(read_rows(predictions))
        asked = [{name: value for name, value in row.items() if name != "image"} for row in read_rows(questions)]
        how = HowScored(
            metrics=benchmark.metrics(None),
            total=benchmark.total,
            cluster_by=benchmark.cluster_by,
            by=benchmark.slices,
        )
        marks = mark_rows(answered, asked, how.metrics)
        rows = score_rows(answered, asked, marks, how)
        artefact.write_shard("part-00000", check_rows("score", [_as_shares(row) for row in rows]))

    part = Scoring(benchmark=recipe.benchmark, conditions=recipe.conditions)
    inputs = {"questions": questions, "predictions": predictions}
    scores = run_stage(run, "scores", part, inputs, make, table="score", version="1")
    _show_scores(scores)
    return scores


def _as_shares(row: Mapping[str, Any]) -> dict[str, Any]:
    """Percent to shares of 1, which is what the warehouse holds."""
    return dict(row) | {name: None if row[name] is None else row[name] / 100 for name in ("value", "low", "high")}


def _show_scores(scores: Reference) -> None:
    if not under_prefect():
        return
    rows = [_score_line(row) for row in read_rows(scores) if row["metric"] == "infoseek" and "/" not in row["split"]]
    create_table_artifact(rows, key="scores", description="Scores by condition, percent, with 95 % intervals")


def _score_line(row: Mapping[str, Any]) -> dict[str, Any]:
    interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" if row["low"] is not None else "-"
    return {
        "condition": row["condition"],
        "split": row["split"],
        "score": round(100 * row["value"], 1),
        "95 % interval": interval,
        "n": row["n"],
        "prompt tokens": round(row["prompt_tokens_mean"] or 0, 1),
    }
