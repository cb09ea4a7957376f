"""The questions that searches are compared on: a benchmark's, or those that a corpus gives itself.

The pictures of the latter are the corpus's own, so they are augmented: any search finds an equal picture.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from comem_core.knowledge.augmenting import augment_picture
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.recipes.searches import ASKED, PICTURES
from tasks.data.benchmarks import collect_benchmark
from tasks.data.questions import pose_questions
from tasks.engine.context import ParameterRefused
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.tables import read_columns, read_items, read_questions, write_questions
from tasks.run import Run

AUGMENTED = Stage(name="augmented-questions", version="1", table="question")
NAME = "augmented"
"""What the questions name in place of a benchmark, and how their ids begin."""


@dataclass(frozen=True, kw_only=True)
class AugmentedKey:
    """The maximum number of questions."""

    num_questions: int


def collect_questions(run: Run, knowledge: Reference, source: str) -> Reference:
    """Return the questions of a source: `pictures`, `asked`, or else the recipe's benchmark.

    Raises ParameterRefused if no item has a picture to ask about, if the VLM asked nothing, or if none of a benchmark's
    questions is about an item of this corpus. A plan refuses what it can see.
    """
    if source in (PICTURES, ASKED):
        _refuse_no_picture(knowledge)
    if source == PICTURES:
        return augment_pictures(run, knowledge)
    asked = pose_questions(run, knowledge) if source == ASKED else collect_benchmark(run)
    if asked.planned is None and knowledge.planned is None:
        _refuse_unknown_items(source, knowledge, asked)
    return augment_questions(run, asked) if source == ASKED else asked


@stage_task(name="augment-pictures")
def augment_pictures(run: Run, knowledge: Reference) -> Reference:
    """Make a question without words of one item for each of so many pictures, which is augmented."""
    num = run.recipe.evaluation.num_questions
    assert num is not None  # `make_trial` sets it

    def make(artefact: Partial) -> None:
        write_questions(artefact, "part-00000", _make_questions(knowledge, num))

    key, expected = AugmentedKey(num_questions=num), min(num, knowledge.num_rows or num)
    return run_stage(run, AUGMENTED, key, {"knowledge": knowledge}, make, expects=expected)


@stage_task(name="augment-questions")
def augment_questions(run: Run, asked: Reference) -> Reference:
    """Augment the pictures of questions that the VLM asked."""

    def make(artefact: Partial) -> None:
        write_questions(artefact, "part-00000", map(_augment, read_questions(asked)))

    key = AugmentedKey(num_questions=run.recipe.synthesis.num_asked_items)
    return run_stage(run, AUGMENTED, key, {"questions": asked}, make, expects=asked.num_rows)


def _make_questions(knowledge: Reference, num: int) -> Iterator[Question]:
    """Yield a question about the first item that shows each of `num` pictures, which a hash chooses."""
    first: dict[str, str] = {}
    for row in read_columns(knowledge, "item_id", "image_id"):
        if row["image_id"] is not None:
            first.setdefault(row["image_id"], row["item_id"])
    items = read_items(knowledge)
    for image_id in heapq.nsmallest(num, first, key=lambda each: hash_content_parts(NAME, each)):
        item = items[first[image_id]]
        question = Question(
            question_id=item.item_id,
            question="",
            image=item.picture,
            language=item.language,
            entity_id=item.entity_id,
            gold_item_id=item.item_id,
        )
        yield _augment(question)


def _augment(question: Question) -> Question:
    """Return the question with its picture augmented, under an id of its own."""
    named: dict[str, Any] = {"question_id": f"{NAME}/{question.question_id}", "benchmark": NAME}
    return replace(question, image=augment_picture(question.image, seed=question.question_id), **named)


def _refuse_no_picture(knowledge: Reference) -> None:
    if knowledge.planned is not None:
        return
    if all(row["image_id"] is None for row in read_columns(knowledge, "image_id")):
        raise ParameterRefused(
            f"none of {knowledge.num_rows} items has a picture, and every question is asked with one; compare searches "
            "on a corpus with pictures"
        )


def _refuse_unknown_items(source: str, knowledge: Reference, asked: Reference) -> None:
    wanted = {row["gold_item_id"] for row in read_columns(asked, "gold_item_id")} - {None}
    if source == ASKED and not wanted:
        raise ParameterRefused(
            "the VLM asked nothing that is a question about this corpus; use a model that knows its words, or compare "
            f"by pictures alone: -p questions={PICTURES}"
        )
    if not any(row["item_id"] in wanted for row in read_columns(knowledge, "item_id")):
        raise ParameterRefused(
            f"none of the {len(wanted)} items that questions of {source} are about is in this corpus; compare on its "
            f"own pictures: -p questions={PICTURES}"
        )
