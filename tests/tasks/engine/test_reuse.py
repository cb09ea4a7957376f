import json
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, off_at
from comem_core.recipes import RECIPES
from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.plan import start_planning
from tasks.engine.reuse import NAMING, Stage, explain_older_names, fingerprint, set_fields
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store

FILTER = Stage(name="filter", version="1")
INPUTS = {"drafts": "aa"}


@dataclass(frozen=True, kw_only=True)
class FilterKey:
    min_judge_score: float = 0.7
    words: tuple[str, ...] = ("one", "two")


@dataclass(frozen=True, kw_only=True)
class RenamedKey:
    """The same fields under another class name, in another order, with options that are off."""

    words: tuple[str, ...] = ("one", "two")
    judge: str | None = field(default=None, metadata=OFF_AT_NONE)
    strict: bool = field(default=False, metadata=OFF_AT_FALSE)
    share: float = field(default=0.0, metadata=off_at(0.0))
    min_judge_score: float = 0.7


def test_a_fingerprint_changes_with_everything_that_decides_the_result() -> None:
    key = FilterKey()
    first = fingerprint(FILTER, key, INPUTS)
    assert first == fingerprint(Stage(name="filter", version="1", table="sample"), FilterKey(), dict(INPUTS))
    others = [
        fingerprint(FILTER, FilterKey(min_judge_score=0.8), INPUTS),
        fingerprint(FILTER, key, {"drafts": "ab"}),
        fingerprint(FILTER, key, {"verdicts": "aa"}),
        fingerprint(replace(FILTER, version="2"), key, INPUTS),
        fingerprint(replace(FILTER, name="judge"), key, INPUTS),
    ]
    assert len({first, *others}) == 6


def test_another_class_name_and_options_that_are_off_keep_the_name() -> None:
    assert fingerprint(FILTER, RenamedKey(), INPUTS) == fingerprint(FILTER, FilterKey(), INPUTS)
    switched_on: list[dict[str, Any]] = [{"judge": "a"}, {"strict": True}, {"share": 0.5}]
    names = {fingerprint(FILTER, RenamedKey(**each), INPUTS) for each in switched_on}
    assert len(names) == 3 and fingerprint(FILTER, FilterKey(), INPUTS) not in names


def test_a_changed_default_makes_another_name_and_off_is_decided_by_type_too() -> None:
    on = make_dataclass("On", [("limit", int | None, field(default=6, metadata=OFF_AT_NONE))], frozen=True)
    off = make_dataclass("Off", [("limit", int | None, field(default=None, metadata=OFF_AT_NONE))], frozen=True)
    assert fingerprint(FILTER, on(), {}) != fingerprint(FILTER, off(), {})
    assert fingerprint(FILTER, on(None), {}) == fingerprint(FILTER, off(), {})
    flag = make_dataclass("Flag", [("at", Any, field(default=False, metadata=OFF_AT_FALSE))], frozen=True)
    assert set_fields(flag(0)) == {"at": 0} and set_fields(flag()) == {}


def test_an_option_that_is_off_deep_inside_keeps_the_name() -> None:
    outer = make_dataclass("Outer", [("parts", tuple)], frozen=True)
    assert fingerprint(FILTER, outer((RenamedKey(),)), {}) == fingerprint(FILTER, outer((FilterKey(),)), {})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_training_of_a_recipe_is_named_by_what_is_on(name: str) -> None:
    training = RECIPES[name]().training
    assert not any(value is None for value in set_fields(training).values())
    assert ("start" in set_fields(training)) == (training.start is not None)


@dataclass(frozen=True)
class WithPath:
    where: object


def test_no_path_and_no_context_enters_a_fingerprint(tmp_path: Path, make_context) -> None:
    for where in (tmp_path, str(tmp_path), ("x", str(tmp_path)), {"deep": [tmp_path]}):
        with pytest.raises(ValueError, match="never name a result"):
            fingerprint(FILTER, WithPath(where), {})
    for key in (make_context(tmp_path), WithPath(make_context(tmp_path))):
        with pytest.raises(TypeError, match="give a recipe or a key"):
            fingerprint(FILTER, key, {})


def test_a_key_is_a_frozen_dataclass_of_plain_values() -> None:
    for key in ({"a": 1}, FilterKey, "words"):
        with pytest.raises(TypeError, match="frozen dataclass"):
            fingerprint(FILTER, key, {})
    with pytest.raises(TypeError):
        fingerprint(FILTER, WithPath(object()), {})
    with pytest.raises(ValueError):
        fingerprint(FILTER, FilterKey(min_judge_score=float("nan")), {})


def made(run: RunRef, key: object = None) -> Reference:
    def make(artefact: Partial) -> None:
        with artefact.open_file("part-00000.txt") as path:
            path.write_text("rows")

    return run_stage(run, FILTER, key or FilterKey(), {}, make)


def test_a_store_stays_valid_when_a_class_is_renamed_and_gets_an_option_that_is_off(run: RunRef) -> None:
    before = made(run)
    with start_planning() as plan:
        made(run, RenamedKey())
        made(run, RenamedKey(judge="a"))
    assert [(each.action, each.fingerprint == before.fingerprint) for each in plan.stages] == [
        ("reuse", True),
        ("make", False),
    ]
    assert plan.stages[1].reason == "differs from the nearest one: recipe field `judge` changed from None to a"


def test_a_store_of_older_names_is_explained_once(run: RunRef) -> None:
    store = Store.of(run.context)
    assert explain_older_names(store) is None  # there is none yet
    old = made(run)
    path = old.folder / "record.json"
    record = json.loads(path.read_text())
    assert record.pop("naming") == NAMING
    path.write_text(json.dumps(record))
    old.folder.rename(old.folder.with_name("0123456789abcdef"))
    with start_planning() as plan:
        made(run)
    assert (
        plan.stages[0].reason == f"differs from the nearest one: the rule that names results changed from 1 to {NAMING}"
    )
    told = [explain_older_names(store, remember=False), explain_older_names(store), explain_older_names(store)]
    assert told[0] == told[1] and told[2] is None
    assert told[0] is not None and told[0].startswith("1 results in") and "anew, this once" in told[0]
