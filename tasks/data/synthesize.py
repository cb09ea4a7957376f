"""Synthesis: the VLM answers questions with their items in its prompt; then every draft is judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from typing import Any, NamedTuple

import pyarrow as pa

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.languages import identify_language_as_declared
from comem_core.neutral import OFF_AT_NONE
from comem_core.prompts import read_prompt_set
from comem_core.synthesis.generation import (
    FurtherAnswers,
    QuestionWithItems,
    answer_again,
    draft_answers,
    is_reply,
    make_faulty_draft,
    name_sample,
)
from comem_core.synthesis.judging import judge
from tasks.data.asked import read_faulty
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import Partial
from tasks.engine.reuse import RowNames, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import (
    make_generator,
    name_generator,
    name_generator_inputs,
    name_generator_key,
    name_written_rows,
    write_with_generator,
)
from tasks.rows.earlier import LastingRows, count_missing, leave_missing
from tasks.rows.posed import Posed
from tasks.rows.tables import read_columns, read_items
from tasks.run import DRAFTED_BY, Run
from warehouse.content import ROW_KEY
from warehouse.schemas import check_rows, make_blank_row, make_schema

DRAFTS = Stage(name="drafts", version="4", table="draft")
VERDICTS = Stage(name="verdicts", version="6", table="verdict")
# What a draft's prompt has of a question, besides its items; and what else decides a verdict.
WORDS = ("question", "image_id", "language", "origin")
GOLD = (
    "question_type", "answers", "answer_low", "answer_high", "options", "right_option", "benchmark", "split",
    "attribute", "entity_id", "gold_item_id",
)  # fmt: skip
NAMED: Mapping[str, pa.DataType] = {ROW_KEY: pa.string()}
DRAFTED = LastingRows(stage=DRAFTS, key=ROW_KEY, shard="part-drafted-before", schema=make_schema("draft", extra=NAMED))
JUDGED = LastingRows(
    stage=VERDICTS, key=ROW_KEY, shard="part-judged-before", schema=make_schema("verdict", extra=NAMED)
)


@dataclass(frozen=True, kw_only=True)
class DraftsKey:
    """What decides a draft besides its question and items."""

    k: int
    generator: str
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    seed: int


class ToDraft(NamedTuple):
    """A question to answer, and the key that names the draft."""

    question_id: str
    key: str


class ToJudge(NamedTuple):
    """A draft to judge, and the key that names the verdict."""

    sample_id: str
    question_id: str
    answer: str
    key: str


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
        units = leave_missing(run.context, artefact, DRAFTED, _list_drafts(run, posed), _make_renewal(run, posed))
        _write_faulty(run, artefact, knowledge, questions)
        if units:
            lengths, until = posed.estimate_lengths(k=run.recipe.synthesis.k), run.find_deadline(DRAFTED_BY)

            def write(run: Run) -> None:
                work, length = bind(_make_drafter, run, posed), lambda unit: lengths[unit.question_id]
                make_shards(run.context, artefact, units, work, length=length, until=until)

            write_with_generator(run, write)
        measure_cost(artefact)

    def count() -> tuple[int, int]:
        return count_missing(run.context, DRAFTED, [unit.key for unit in _list_drafts(run, posed)])

    inputs, expected = name_generator_inputs(run) | posed.inputs, questions.num_rows
    return run_stage(run, DRAFTS, _make_key(run), inputs, make, expects=expected, count_missing=count)


def _list_drafts(run: Run, posed: Posed) -> list[ToDraft]:
    """List the drafts to make, each named by its question and the items that it is shown, whose ids are hashes."""
    names, found, k = _name_rows(run, DRAFTS), posed.open_retrieved(), run.recipe.synthesis.k
    return [
        ToDraft(
            row["question_id"],
            names.name(*(row[name] for name in WORDS), found.of(row["question_id"])["item_ids"][:k]),
        )
        for row in read_columns(posed.questions, "question_id", *WORDS)
    ]


def _make_renewal(run: Run, posed: Posed) -> Callable[[dict[str, Any], ToDraft], dict[str, Any]]:
    """Return how an earlier draft becomes this artefact's: with this question's id and the scores of now."""
    found, recipe, model = posed.open_retrieved(), run.recipe.synthesis, name_generator(run)

    def renew(row: dict[str, Any], unit: ToDraft) -> dict[str, Any]:
        sample_id = name_sample(unit.question_id, row["prompt_hash"], seed=recipe.seed)
        scores = found.of(unit.question_id)["scores"][: recipe.k]
        named = {"sample_id": sample_id, "question_id": unit.question_id, "model": model}
        return row | named | {"retrieval_scores": scores}

    return renew


def _name_rows(run: Run, stage: Stage) -> RowNames:
    """Return what names drafts or verdicts."""
    recipe = run.recipe.synthesis
    return name_written_rows(
        run,
        stage,
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        seed=recipe.seed,
        visual_tokens=run.recipe.training.encoder.query_visual_tokens,
    )


def _write_faulty(run: Run, artefact: Partial, knowledge: Reference, questions: Reference) -> None:
    """Add the VLM's replies that are not questions as drafts with an error, so the funnel counts every request once."""
    faulty = read_faulty(questions)
    if not faulty:
        return
    items, name, seed = read_items(knowledge), name_generator(run), run.recipe.synthesis.seed
    unnamed = dict.fromkeys(NAMED)  # the reply is found again, and so this row need not be
    rows = [make_faulty_draft(written, items[written.item_id], seed=seed, model=name) | unnamed for written in faulty]
    artefact.write_shard("part-faulty", check_rows("draft", rows, extra=NAMED))


def _make_drafter(run: Run, posed: Posed) -> Work:
    writer, asked, options = make_generator(run), posed.read(k=run.recipe.synthesis.k), _read_options(run)

    def work(batch: Sequence[ToDraft]) -> pa.Table:
        chosen = [asked(unit.question_id) for unit in batch]
        rows = draft_answers(writer, chosen, **options, seed=run.recipe.synthesis.seed)
        for unit, row in zip(batch, rows, strict=True):
            row[ROW_KEY] = unit.key if is_reply(row["error"]) else None
        return check_rows("draft", rows, extra=NAMED)

    return work


@stage_task(name="judge-qa")
def judge_qa(
    run: Run, knowledge: Reference, questions: Reference, retrieved: Reference, drafts: Reference
) -> Reference:
    """Judge whether each draft is right, is grounded in its items, and needs them to be answered."""
    posed = Posed(knowledge=knowledge, questions=questions, retrieved=retrieved)

    def make(artefact: Partial) -> None:
        units = leave_missing(run.context, artefact, JUDGED, _list_verdicts(run, posed, drafts), _renew_verdict)
        if units:
            lengths, until = posed.estimate_lengths(k=run.recipe.synthesis.k), run.find_deadline(1.0)

            def write(run: Run) -> None:
                work, length = bind(_make_judge, run, posed), lambda unit: lengths[unit.question_id]
                make_shards(run.context, artefact, units, work, length=length, until=until)

            write_with_generator(run, write)
        measure_cost(artefact)

    def count() -> tuple[int, int]:
        return count_missing(run.context, JUDGED, [unit.key for unit in _list_verdicts(run, posed, drafts)])

    inputs, expected = name_generator_inputs(run) | {"drafts": drafts} | posed.inputs, drafts.num_rows
    return run_stage(run, VERDICTS, _make_key(run), inputs, make, expects=expected, count_missing=count)


def _list_verdicts(run: Run, posed: Posed, drafts: Reference) -> list[ToJudge]:
    """List the verdicts to give, each named by its draft's answer, question and items."""
    names = _name_rows(run, VERDICTS)
    asked = {
        row["question_id"]: names.name(*(row[name] for name in (*WORDS, *GOLD)))
        for row in read_columns(posed.questions, "question_id", *WORDS, *GOLD)
    }
    return [
        ToJudge(
            row["sample_id"],
            row["question_id"],
            row["answer"],
            names.name(asked[row["question_id"]], row["answer"], row["item_ids"]),
        )
        for row in read_columns(drafts, "sample_id", "question_id", "answer", "item_ids", "error")
        if row["error"] is None
    ]


def _renew_verdict(row: dict[str, Any], unit: ToJudge) -> dict[str, Any]:
    return row | {"sample_id": unit.sample_id}


def _make_judge(run: Run, posed: Posed) -> Work:
    writer, asked, options = make_generator(run), posed.read(k=run.recipe.synthesis.k), _read_options(run)

    def work(batch: Sequence[ToJudge]) -> pa.Table:
        chosen = [asked(unit.question_id) for unit in batch]
        again = answer_again(writer, chosen, **options)
        rows = [
            _make_verdict(unit, each, other)
            for unit, each, other in zip(batch, chosen, again, strict=True)
            if other.error is None  # without an answer to compare with, the draft stays unjudged
        ]
        return check_rows("verdict", rows, extra=NAMED)

    return work


def _make_verdict(unit: ToJudge, asked: QuestionWithItems, again: FurtherAnswers) -> dict[str, Any]:
    verdict = judge(
        unit.answer,
        asked.question,
        item_texts=[item.text for item in asked.items],
        answer_without_items=again.without,
        second_answer=again.second,
    )
    cost = {name: getattr(again, name) for name in ("prompt_tokens", "answer_tokens", "seconds")}
    found = identify_language_as_declared(asked.question.question, asked.question.language)
    named = {"sample_id": unit.sample_id, "language_found": found, ROW_KEY: unit.key}
    return make_blank_row("verdict") | named | verdict | cost


def _read_options(run: Run) -> dict[str, Any]:
    recipe = run.recipe.synthesis
    return {
        "prompts": read_prompt_set(recipe.prompts),
        "max_new_tokens": recipe.max_new_tokens,
        "visual_tokens": run.recipe.training.encoder.query_visual_tokens,
    }
