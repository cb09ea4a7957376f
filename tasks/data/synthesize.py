"""Synthesis: the VLM answers questions with their items in its prompt; then every draft is judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from typing import Any

import pyarrow as pa

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.languages import identify_language_as_declared
from comem_core.knowledge.stored_rows import StoredRows
from comem_core.neutral import OFF_AT_NONE
from comem_core.prompts import MAX_CHARACTERS, read_prompt_set
from comem_core.synthesis.generation import (
    FurtherAnswers,
    QuestionWithItems,
    answer_again,
    draft_answers,
    make_faulty_draft,
)
from comem_core.synthesis.judging import judge
from tasks.data.questions import CHARACTERS_OF_A_PICTURE, read_faulty
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import (
    make_generator,
    name_generator,
    name_generator_inputs,
    name_generator_key,
    write_with_generator,
)
from tasks.rows.tables import list_shards, open_item_lengths, read_columns, read_items, read_questions
from tasks.run import DRAFTED_BY, Run
from warehouse.schemas import check_rows, make_blank_row

DRAFTS = Stage(name="drafts", version="4", table="draft")
VERDICTS = Stage(name="verdicts", version="6", table="verdict")
QUESTION, RETRIEVED = ("question_id", "question"), ("question_id", "item_ids", "scores")


@dataclass(frozen=True, kw_only=True)
class DraftsKey:
    """What decides a draft besides its question and items."""

    k: int
    generator: str
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
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

    def read(self, *, k: int) -> Callable[[str], QuestionWithItems]:
        """Return a function from a question's id to the question with its first k items and scores, read on demand."""
        items, questions = read_items(self.knowledge), read_questions(self.questions)
        found = StoredRows(list_shards(self.retrieved), RETRIEVED, dict, id_column="question_id")

        def asked(question_id: str) -> QuestionWithItems:
            row = found.of(question_id)
            return QuestionWithItems(
                question=questions.of(question_id),
                items=tuple(items[item_id] for item_id in row["item_ids"][:k]),
                scores=tuple(row["scores"][:k]),
            )

        return asked

    def estimate_lengths(self, *, k: int) -> dict[str, int]:
        """Estimate the length of each question's prompt in characters, by question id; reads no picture."""
        lengths = open_item_lengths(read_items(self.knowledge), most=MAX_CHARACTERS, of_picture=CHARACTERS_OF_A_PICTURE)
        asked = {row["question_id"]: len(row["question"]) for row in read_columns(self.questions, *QUESTION)}
        return {
            row["question_id"]: asked[row["question_id"]] + sum(map(lengths, row["item_ids"][:k]))
            for row in read_columns(self.retrieved, "question_id", "item_ids")
        }


def _make_key(run: Run) -> DraftsKey:
    recipe = run.recipe.synthesis
    return DraftsKey(
        k=recipe.k,
        generator=name_generator_key(run),
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        visual_tokens=run.recipe.training.encoder.query_visual_tokens,
        seed=recipe.seed,
    )


@stage_task(name="synthesize-qa")
def synthesize_qa(run: Run, knowledge: Reference, questions: Reference, retrieved: Reference) -> Reference:
    """Answer every question with its items in the prompt: one draft for each question."""
    posed = Posed(knowledge=knowledge, questions=questions, retrieved=retrieved)

    def make(artefact: Partial) -> None:
        units = [row["question_id"] for row in read_columns(questions, "question_id")]
        length = posed.estimate_lengths(k=run.recipe.synthesis.k).__getitem__
        _write_faulty(run, artefact, knowledge, questions)

        def write(run: Run) -> None:
            work, until = bind(_make_drafter, run, posed), run.find_deadline(DRAFTED_BY)
            make_shards("synthesize-qa", run.context, artefact, units, work, length=length, until=until)

        write_with_generator(run, write)
        measure_cost(artefact)

    inputs, expected = name_generator_inputs(run) | posed.inputs, questions.num_rows
    return run_stage(run, DRAFTS, _make_key(run), inputs, make, expects=expected)


def _write_faulty(run: Run, artefact: Partial, knowledge: Reference, questions: Reference) -> None:
    """Add the VLM's replies that are not questions as drafts with an error, so the funnel counts every request once."""
    faulty = read_faulty(questions)
    if not faulty:
        return
    items, name, seed = read_items(knowledge), name_generator(run), run.recipe.synthesis.seed
    rows = [make_faulty_draft(written, items[written.item_id], seed=seed, model=name) for written in faulty]
    artefact.write_shard("part-faulty", check_rows("draft", rows))


def _make_drafter(run: Run, posed: Posed) -> Work:
    writer, asked, options = make_generator(run), posed.read(k=run.recipe.synthesis.k), _read_options(run)

    def work(batch: Sequence[str]) -> pa.Table:
        chosen = [asked(question_id) for question_id in batch]
        rows = draft_answers(writer, chosen, **options, seed=run.recipe.synthesis.seed) if chosen else []
        return check_rows("draft", rows)

    return work


@stage_task(name="judge-qa")
def judge_qa(
    run: Run, knowledge: Reference, questions: Reference, retrieved: Reference, drafts: Reference
) -> Reference:
    """Judge whether each draft is right, is grounded in its items, and needs them to be answered."""
    posed = Posed(knowledge=knowledge, questions=questions, retrieved=retrieved)

    def make(artefact: Partial) -> None:
        rows = read_columns(drafts, "sample_id", "question_id", "answer", "error")
        units = [(row["sample_id"], row["question_id"], row["answer"]) for row in rows if row["error"] is None]
        lengths = posed.estimate_lengths(k=run.recipe.synthesis.k)

        def write(run: Run) -> None:
            work, until = bind(_make_judge, run, posed), run.find_deadline(1.0)
            make_shards(
                "judge-qa", run.context, artefact, units, work, length=lambda unit: lengths[unit[1]], until=until
            )

        write_with_generator(run, write)
        measure_cost(artefact)

    inputs, expected = name_generator_inputs(run) | {"drafts": drafts} | posed.inputs, drafts.num_rows
    return run_stage(run, VERDICTS, _make_key(run), inputs, make, expects=expected)


def _make_judge(run: Run, posed: Posed) -> Work:
    writer, asked, options = make_generator(run), posed.read(k=run.recipe.synthesis.k), _read_options(run)

    def work(batch: Sequence[tuple[str, str, str]]) -> pa.Table:
        chosen = [asked(question_id) for _, question_id, _ in batch]
        again = answer_again(writer, chosen, **options) if chosen else []
        rows = [
            _make_verdict(sample_id, answer, each, other)
            for (sample_id, _, answer), each, other in zip(batch, chosen, again, strict=True)
            if other.error is None  # without an answer to compare with, the draft stays unjudged
        ]
        return check_rows("verdict", rows)

    return work


def _make_verdict(sample_id: str, answer: str, asked: QuestionWithItems, again: FurtherAnswers) -> dict[str, Any]:
    verdict = judge(
        answer,
        asked.question,
        item_texts=[item.text for item in asked.items],
        answer_without_items=again.without,
        second_answer=again.second,
    )
    cost = {name: getattr(again, name) for name in ("prompt_tokens", "answer_tokens", "seconds")}
    found = identify_language_as_declared(asked.question.question, asked.question.language)
    return make_blank_row("verdict") | {"sample_id": sample_id, "language_found": found} | verdict | cost


def _read_options(run: Run) -> dict[str, Any]:
    recipe = run.recipe.synthesis
    return {
        "prompts": read_prompt_set(recipe.prompts),
        "max_new_tokens": recipe.max_new_tokens,
        "visual_tokens": run.recipe.training.encoder.query_visual_tokens,
    }
