"""The names of answers: everything that decides an answer is in them, also what is added later."""

import json
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.conditions import AskedQuestion
from comem_core.memory.recipe import MEMORY_OPTIONS, EncoderRecipe
from comem_core.neutral import off_at
from comem_core.recipes import find_recipe
from tasks.data.index import INDEX
from tasks.data.retrieve import RETRIEVAL
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage, fingerprint
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.evaluation.exam import PREDICTIONS, AnswerKeys, Exam, Unit, make_predictions_key
from tasks.memory.encode import BANK
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tasks.training.encoder import ENCODER

QUESTION = AskedQuestion(question_id="q", language="en", image_id="picture")
LATER = make_dataclass(
    "LaterRecipe",
    [("later", int, field(default=0, metadata=off_at(0)))],
    bases=(EncoderRecipe,),
    frozen=True,
    kw_only=True,
)


@dataclass(frozen=True)
class Made:
    """What tells the artefacts of this test apart."""

    what: str


@pytest.fixture
def run(context: Context) -> Run:
    return Run(run_id="r", recipe_name="t", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE)


def make(run: Run, stage: Stage, **inputs: Reference) -> Reference:
    def write(partial: Partial) -> None:
        with partial.open_file("file") as path:
            path.write_text("made")

    return run_stage(run, replace(stage, table=None), Made(stage.name), inputs, write)


@pytest.fixture
def exam(run: Run) -> Exam:
    index = make(run, INDEX)
    retrieved, bank = make(run, RETRIEVAL, index=index), make(run, BANK)
    return Exam(knowledge=NO_BACKBONE, encoder=NO_BACKBONE, bank=bank, questions=NO_BACKBONE, retrieved=retrieved)


def name_all(run: Run, exam: Exam) -> dict[str, str]:
    """Return the name of an exam's predictions, and of one answer under each condition."""
    key = make_predictions_key(run, exam)
    keys, names = AnswerKeys(run, key, exam), {"predictions": fingerprint(PREDICTIONS, key, {})}
    for condition in ("none", "text", "memory", "empty"):
        unit = Unit(place=0, condition=condition, k=1, item_ids=("i",), key="")
        names[condition] = keys.of(unit, QUESTION, "What?")
    return names


def list_changed(before: dict[str, str], now: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != now[name]}


def change(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case None:
            return VisualTokens(min=1, max=2)
        case bool():
            return not value
        case "short":
            return "smol"
        case str():
            return f"{value} changed"
    return value + 1


@pytest.mark.parametrize("option", [each.name for each in fields(EncoderRecipe)])
def test_every_option_of_an_encoder_is_in_the_names_of_answers_or_decides_memories_alone(
    run: Run, exam: Exam, option: str
) -> None:
    recipe = run.recipe.training.encoder
    other = replace(recipe, **{option: change(getattr(recipe, option))})
    changed = list_changed(name_all(run, exam), name_all(run.with_recipe(encoder=other), exam))
    assert changed == (set() if option in MEMORY_OPTIONS - {"prompts"} else changed)
    assert option in MEMORY_OPTIONS or changed == {"predictions", "none", "text", "memory", "empty"}
    training = [replace(run.recipe.training, encoder=each) for each in (recipe, other)]
    assert len({fingerprint(ENCODER, each, {}) for each in training}) == 2  # and so in the name of the encoder


def test_an_option_that_is_added_later_is_in_the_names_without_being_copied(run: Run, exam: Exam) -> None:
    values = {each.name: getattr(run.recipe.training.encoder, each.name) for each in fields(EncoderRecipe)}
    off, on = (name_all(run.with_recipe(encoder=LATER(**values, later=later)), exam) for later in (0, 1))
    assert off == name_all(run, exam)
    assert list_changed(off, on) == set(off)


@pytest.mark.parametrize(
    ("stage", "resting"),
    [(INDEX, {"text", "memory"}), (RETRIEVAL, {"text", "memory"}), (BANK, {"memory"}), (None, set())],
)
def test_an_answer_is_named_by_the_libraries_of_what_it_rests_on_where_they_are_others(
    run: Run, exam: Exam, stage: Stage | None, resting: set[str]
) -> None:
    before = name_all(run, exam)
    for path in run.context.store.glob(f"{stage.name if stage else 'none'}/*/record.json"):
        change_libraries(path, torch="1.0")
    assert list_changed(before, name_all(run, exam)) == resting | ({"predictions"} if stage else set())


def change_libraries(path: Path, **versions: str) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"libraries": record["libraries"] | versions}))
