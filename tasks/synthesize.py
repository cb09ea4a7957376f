"""Synthesis: the VLM answers questions with their items in its prompt; then every draft is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

import pyarrow as pa

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.items import Question
from comem_core.synthesis.generation import Asked, answers_again, draft_answers
from comem_core.synthesis.judging import judge
from comem_core.synthesis.prompts import prompt_set
from tasks.models import reader
from tasks.partial import Partial
from tasks.rows import read_items, read_questions, read_rows
from tasks.run import Run
from tasks.shards import Work, make_shards
from tasks.stage import run_stage, stage_task
from tasks.store import Reference
from warehouse.schemas import blank_row, check_rows


@dataclass(frozen=True, kw_only=True)
class Drafting:
    """What decides a draft besides its question and items."""

    k: int
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Posed:
    """Questions with what was retrieved for them, by reference."""

    knowledge: Reference
    questions: Reference
    retrieved: Reference

    @property
    def inputs(self) -> dict[str, Reference]:
        return {"knowledge": self.knowledge, "questions": self.questions, "retrieved": self.retrieved}

    def read(self, *, k: int) -> dict[str, Asked]:
        """The questions with their first k items and scores, by question id."""
        items = read_items(self.knowledge)
        found = {row["question_id"]: row for row in read_rows(self.retrieved)}
        return {
            question.question_id: Asked(
                question=question,
                items=tuple(items[item_id] for item_id in found[question.question_id]["item_ids"][:k]),
                scores=tuple(found[question.question_id]["scores"][:k]),
            )
            for question in read_questions(self.questions)
        }


def _drafting(run: Run) -> Drafting:
    recipe = run.recipe.synthesis
    return Drafting(
        k=recipe.k,
        prompts_sha256=prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        visual_tokens=run.recipe.training.encoder.query_visual_tokens,
        seed=recipe.seed,
    )


@stage_task(name="synthesize-qa")
def synthesize_qa(run: Run, knowledge: Reference, questions: Reference, retrieved: Reference) -> Reference:
    """Answer every question with its items in the prompt: one draft a question."""
    posed = Posed(knowledge=knowledge, questions=questions, retrieved=retrieved)

    def make(artefact: Partial) -> None:
        units = [question.question_id for question in read_questions(questions)]
        make_shards("synthesize-qa", run.context, artefact, units, bind(_drafter, run, posed))

    inputs = {"backbone": run.backbone} | posed.inputs
    return run_stage(
        run, "drafts", _drafting(run), inputs, make, table="draft", version="1", expects=questions.num_rows
    )


def _drafter(run: Run, posed: Posed) -> Work:
    backbone, asked, options = reader(run), posed.read(k=run.recipe.synthesis.k), _options(run)

    def work(batch: Sequence[str]) -> pa.Table:
        chosen = [asked[question_id] for question_id in batch]
        rows = draft_answers(backbone, chosen, **options, seed=run.recipe.synthesis.seed) if chosen else []
        return check_rows("draft", rows)

    return work


@stage_task(name="judge-qa")
def judge_qa(
    run: Run, knowledge: Reference, questions: Reference, retrieved: Reference, drafts: Reference
) -> Reference:
    """Say of every draft whether it is right, grounded in its items, and not to be had without them."""
    posed = Posed(knowledge=knowledge, questions=questions, retrieved=retrieved)

    def make(artefact: Partial) -> None:
        units = [(row["sample_id"], row["question_id"], row["answer"]) for row in read_rows(drafts)]
        make_shards("judge-qa", run.context, artefact, units, bind(_judge, run, posed))

    inputs = {"backbone": run.backbone, "drafts": drafts} | posed.inputs
    return run_stage(
        run, "verdicts", _drafting(run), inputs, make, table="verdict", version="1", expects=drafts.num_rows
    )


def _judge(run: Run, posed: Posed) -> Work:
    backbone, asked, options = reader(run), posed.read(k=run.recipe.synthesis.k), _options(run)

    def work(batch: Sequence[tuple[str, str, str]]) -> pa.Table:
        chosen = [asked[question_id] for _, question_id, _ in batch]
        again = answers_again(backbone, chosen, **options) if chosen else []
        rows: list[dict[str, Any]] = []
        for (sample_id, _, answer), each, (without, second) in zip(batch, chosen, again, strict=True):
            question: Question = each.question
            texts = [item.text for item in each.items]
            verdict = judge(answer, question, item_texts=texts, answer_without_items=without, second_answer=second)
            rows.append(blank_row("verdict") | {"sample_id": sample_id} | verdict)
        return check_rows("verdict", rows)

    return work


def _options(run: Run) -> dict[str, Any]:
    recipe = run.recipe.synthesis
    return {
        "prompts": prompt_set(recipe.prompts),
        "max_new_tokens": recipe.max_new_tokens,
        "visual_tokens": run.recipe.training.encoder.query_visual_tokens,
    }
