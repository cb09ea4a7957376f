"""An exam: which question is asked under which condition with which items, and the key that names each answer."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import AskedQuestion, Condition, ItemChooser, ShowableItems, find_condition
from comem_core.neutral import OFF_AT_NONE, off_at
from comem_core.prompts import read_prompt_set
from comem_core.recipes.recipe import EvaluationRecipe
from comem_core.serving.layout import PREDICTIONS_STAGE
from tasks.data.index import INDEX
from tasks.data.retrieve import RETRIEVAL
from tasks.engine.reuse import Explanation, Stage, fingerprint, join_versions, list_libraries
from tasks.engine.store import Reference, Store
from tasks.memory.encode import BANK, BankKey, make_bank_key
from tasks.rows.stored_questions import StoredQuestions
from tasks.rows.tables import read_items, read_rows
from tasks.run import Run

KEY = "answer_key"
PREDICTIONS = Stage(
    name=PREDICTIONS_STAGE,
    version="6",
    table="prediction",
    explained=Explanation(subject="asking", extent=("conditions", "k"), fallbacks={"reader": "backbone"}),
)


@dataclass(frozen=True, kw_only=True)
class PredictionsKey:
    """What decides answers besides questions, items and encoder.

    It includes the versions of libraries, so that a score that they change is seen as a change; `other_libraries` has
    those of the stages that were made with others. `encoder_options` are those of an encoder that may decide an answer
    without memory, besides `visual_tokens`. `question_picture` is for a text-only reader, which gets a question's
    picture as a memory, or not at all.
    """

    benchmark: str
    conditions: tuple[str, ...]
    k: tuple[int, ...]
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    encoder_options: Mapping[str, Any] = field(default_factory=dict, metadata=off_at({}))
    libraries: dict[str, str]
    other_libraries: Mapping[str, Mapping[str, str]] = field(default_factory=dict, metadata=off_at({}))
    question_picture: bool | None = field(default=None, metadata=OFF_AT_NONE)
    # Seconds after which an answer counts as timed out: the answers that were in time are the same without the limit.
    answer_seconds: float | None = field(default=None, metadata=OFF_AT_NONE)


@dataclass(frozen=True, kw_only=True)
class AnswerKey:
    """What decides one answer besides models and stages: how the question is asked, and the content it is shown.

    `place` is where items go. `num_empty` is the number of items that learned-nothing vectors replace.
    """

    place: str
    words: str
    image_id: str
    language: str
    item_ids: tuple[str, ...]
    num_empty: int = field(default=0, metadata=off_at(0))
    prompts_sha256: str
    max_new_tokens: int
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    encoder_options: Mapping[str, Any] = field(default_factory=dict, metadata=off_at({}))
    question_picture: bool | None = field(default=None, metadata=OFF_AT_NONE)
    item_prompts_sha256: str | None = field(default=None, metadata=OFF_AT_NONE)
    # How the memories that are shown are stored; None where none are.
    number_type: str | None = field(default=None, metadata=OFF_AT_NONE)
    libraries: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Everything that answering needs, by reference.

    `foreign` and `foreign_bank` are for the condition `foreign`, `gate` for the condition `gated`, `transfer` for a
    text-only reader of another width. `tried_k` is what the number of items was chosen by, if it was not given.
    """

    knowledge: Reference
    encoder: Reference
    bank: Reference
    questions: Reference
    retrieved: Reference
    transfer: Reference | None = None
    foreign: Reference | None = None
    foreign_bank: Reference | None = None
    gate: Reference | None = None
    tried_k: Reference | None = None

    def name_inputs(self) -> dict[str, Reference]:
        return {role: reference for role, reference in vars(self).items() if reference is not None}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One question (by its place) under one condition, with the ids of the items it is shown and its answer's key."""

    place: int
    condition: str
    k: int
    item_ids: tuple[str, ...]
    key: str


def make_predictions_key(run: Run, exam: Exam) -> PredictionsKey:
    """Return what decides the answers of an exam besides its questions, items and models."""
    recipe, reader = run.recipe.evaluation, run.recipe.reader
    options = run.recipe.training.encoder.list_asking_options()
    return PredictionsKey(
        benchmark=recipe.benchmark,
        conditions=recipe.conditions,
        k=recipe.all_k,
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        visual_tokens=options.pop("query_visual_tokens", None),
        encoder_options=options,
        libraries=list_libraries(),
        other_libraries=_list_other_libraries(run, exam),
        question_picture=reader and reader.question_picture,
        answer_seconds=run.context.answer_seconds,
    )


def _list_other_libraries(run: Run, exam: Exam) -> dict[str, dict[str, str]]:
    """Return by stage the libraries that its result was made with, if they are not those that answer now.

    An index or a bank outlives a release of a library, and is not made anew for it.
    """
    store, found = Store.of(run.context), {}
    retrieved = store.find(RETRIEVAL.name, exam.retrieved.fingerprint)
    made = [(RETRIEVAL, exam.retrieved.fingerprint), (BANK, exam.bank.fingerprint)]
    made += [(INDEX, retrieved["inputs"]["index"])] if retrieved else []
    made += [(BANK, exam.foreign_bank.fingerprint)] if exam.foreign_bank else []
    for stage, name in made:
        record = store.find(stage.name, name)
        used = record.get("libraries", list_libraries()) if record else list_libraries()
        if used != list_libraries():
            found[stage.name] = join_versions([found.get(stage.name, {}), used])
    return found


def count_answers(recipe: EvaluationRecipe, num_questions: int) -> int:
    """Count the answers of an exam. Conditions that do not depend on the number of items are asked once."""
    return num_questions * sum(len(find_condition(name).list_numbers(recipe.all_k)) for name in recipe.conditions)


def list_units(run: Run, key: PredictionsKey, exam: Exam, questions: StoredQuestions) -> Iterator[Unit]:
    """Yield all questions with their items, condition by condition, so that prompts of a batch are similar.

    A question without a gold item is not asked under a condition that shows the gold item, and none is asked under a
    condition that only chooses between the answers of others.
    """
    recipe, benchmark = run.recipe.evaluation, find_benchmark(key.benchmark)
    shown = ShowableItems(
        retrieved={row["question_id"]: row["item_ids"] for row in read_rows(exam.retrieved)},
        entity_of=read_items(exam.knowledge).map_entities(),
        foreign=list(read_items(exam.foreign)) if exam.foreign else (),
    )
    asked = list(questions.without_pictures())
    chooser = ItemChooser(asked, shown)
    wordings = [benchmark.wording.of(question) for question in questions]
    keys = AnswerKeys(run, key, exam)
    for condition in (each for each in map(find_condition, recipe.conditions) if not each.chooses):
        for k in condition.list_numbers(recipe.all_k):
            for place, question in enumerate(asked):
                if condition.choice == "gold" and question.gold_item_id is None:
                    continue
                item_ids = chooser.choose_items(condition.name, question.question_id, k=max(1, k))
                unit = Unit(place=place, condition=condition.name, k=k, item_ids=item_ids, key="")
                yield replace(unit, key=keys.of(unit, question, wordings[place]))


@dataclass(frozen=True)
class AnswerKeys:
    """Names answers by everything that decides them, including the versions of the stages that they depend on."""

    run: Run
    key: PredictionsKey
    exam: Exam

    def of(self, unit: Unit, question: AskedQuestion, words: str) -> str:
        """Return the key of the answer to a question asked in these words, with the unit's items."""
        condition, predictions = find_condition(unit.condition), self.key
        in_memory = condition.place == "memory"
        key = AnswerKey(
            place=condition.place,
            words=words,
            image_id=question.image_id,
            language=question.language,
            item_ids=unit.item_ids,
            num_empty=unit.k if condition.learned_nothing else 0,
            prompts_sha256=predictions.prompts_sha256,
            max_new_tokens=predictions.max_new_tokens,
            visual_tokens=predictions.visual_tokens,
            encoder_options=predictions.encoder_options,
            question_picture=predictions.question_picture if in_memory else None,
            item_prompts_sha256=self._bank_key.prompts_sha256 if in_memory else None,
            number_type=self._bank_key.number_type if in_memory and not condition.learned_nothing else None,
            libraries=predictions.libraries,
        )
        return fingerprint(PREDICTIONS, key, self._rests_on(condition))

    def _rests_on(self, condition: Condition) -> dict[str, str]:
        """Name the models by their weights, and the stages that chose or encoded the items by their versions."""
        exam, found = self.exam, {"reader": self.run.answers.fingerprint}
        if condition.place == "memory":
            models = {"backbone": self.run.backbone, "encoder": exam.encoder, "transfer": exam.transfer}
            found |= {role: model.fingerprint for role, model in models.items() if model}
        stages = [INDEX, RETRIEVAL] if condition.is_retrieved else []
        if condition.place == "memory" and not condition.learned_nothing:
            stages.append(BANK)
        other = self.key.other_libraries
        found |= {f"libraries of {each.name}": json.dumps(other[each.name]) for each in stages if each.name in other}
        return found | {f"version of {stage.name}": stage.version for stage in stages}

    @cached_property
    def _bank_key(self) -> BankKey:
        return make_bank_key(self.run)
