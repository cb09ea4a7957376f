"""An exam: which question is asked under which condition with which items, and what names each answer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.evaluation.conditions import AskedQuestion, ItemChooser, Shown, condition_named
from comem_core.knowledge.items import content_id
from comem_core.recipes.recipe import EvaluationRecipe
from comem_core.synthesis.prompts import prompt_set
from tasks.libraries import libraries
from tasks.rows import read_items, read_rows
from tasks.run import Run
from tasks.store import Reference
from tasks.stored_questions import StoredQuestions


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What decides an answer besides question, items and encoder. The libraries' releases are among it: a score that
    they move is a change to be seen."""

    benchmark: str
    conditions: tuple[str, ...]
    k: tuple[int, ...]
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None
    libraries: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AnsweringInText(Answering):
    """The same for a text-only reader, which sees a question's picture as a memory, or not at all."""

    question_picture: bool


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Everything that answering needs, by reference. Foreign items are there for the condition that shows them, and
    `transfer` for a text-only reader of another width."""

    knowledge: Reference
    encoder: Reference
    bank: Reference
    questions: Reference
    retrieved: Reference
    transfer: Reference | None = None
    foreign: Reference | None = None
    foreign_bank: Reference | None = None

    def inputs(self) -> dict[str, Reference]:
        return {role: reference for role, reference in vars(self).items() if reference is not None}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One question under one condition, with the ids of the items it is shown, and what names its answer."""

    place: int
    condition: str
    k: int
    item_ids: tuple[str, ...]
    key: str


def answering_part(run: Run) -> Answering:
    recipe, reader = run.recipe.evaluation, run.recipe.reader
    part = {
        "benchmark": recipe.benchmark,
        "conditions": recipe.conditions,
        "k": recipe.all_k,
        "prompts_sha256": prompt_set(recipe.prompts).sha256,
        "max_new_tokens": recipe.max_new_tokens,
        "visual_tokens": run.recipe.training.encoder.query_visual_tokens,
        "libraries": libraries(),
    }
    return AnsweringInText(**part, question_picture=reader.question_picture) if reader else Answering(**part)


def questions_asked(recipe: EvaluationRecipe, num_questions: int) -> int:
    """How many answers there will be: conditions that show no number of items are asked once."""
    return num_questions * sum(len(condition_named(name).numbers(recipe.all_k)) for name in recipe.conditions)


def units_of(run: Run, part: Answering, exam: Exam, questions: StoredQuestions) -> Iterator[Unit]:
    """Yield all questions condition by condition, each with its items; so prompts of a batch are alike.

    A question without a gold item is not asked under a condition that shows it.
    """
    recipe, benchmark = run.recipe.evaluation, benchmark_named(part.benchmark)
    shown = Shown(
        retrieved={row["question_id"]: row["item_ids"] for row in read_rows(exam.retrieved)},
        entity_of=read_items(exam.knowledge).entities(),
        foreign=list(read_items(exam.foreign)) if exam.foreign else (),
    )
    asked = list(questions.without_pictures())
    chooser = ItemChooser(asked, shown)
    wordings = [benchmark.wording.of(question) for question in questions]
    keys = AnswerKeys(run, part, exam)
    for condition in map(condition_named, recipe.conditions):
        for k in condition.numbers(recipe.all_k):
            for place, question in enumerate(asked):
                if condition.choice == "gold" and question.gold_item_id is None:
                    continue
                item_ids = chooser.items_for(condition.name, question.question_id, k=max(1, k))
                unit = Unit(place=place, condition=condition.name, k=k, item_ids=item_ids, key="")
                yield replace(unit, key=keys.of(unit, question, wordings[place]))


@dataclass(frozen=True)
class AnswerKeys:
    """Names answers by all that decides them."""

    run: Run
    part: Answering
    exam: Exam

    def of(self, unit: Unit, question: AskedQuestion, words: str) -> str:
        """Hash what is asked, of whom, and what it is shown, items by their content."""
        condition = condition_named(unit.condition)
        by_encoder = (self.exam.encoder.fingerprint, prompt_set(self.run.recipe.training.encoder.prompts).sha256)
        return content_id(
            self._reader_of_memories if condition.place == "memory" else self.run.answers.fingerprint,
            *(by_encoder if condition.place == "memory" else ("", "")),
            condition.place,
            str(unit.k) if condition.learned_nothing else "",
            *(words, question.image_id, question.language),
            *self._settings,
            *unit.item_ids,
        )

    @cached_property
    def _settings(self) -> tuple[str, ...]:
        """What decides every answer of an evaluation."""
        part = self.part
        settings = (str(part.max_new_tokens), repr(part.visual_tokens), repr(sorted(part.libraries.items())))
        return (part.prompts_sha256, *settings)

    @cached_property
    def _reader_of_memories(self) -> str:
        """Who answers, and for a text-only reader the way in which memories and pictures reach it."""
        reader = self.run.answers.fingerprint
        if not isinstance(self.part, AnsweringInText):
            return reader
        way = self.exam.transfer.fingerprint if self.exam.transfer else ""
        return content_id(reader, self.run.backbone.fingerprint, way, str(self.part.question_picture))
