"""Why two evaluations differ: first causes by name, consequences left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from warehouse.changes import list_changed_inputs, list_changes, list_recipe_differences
from warehouse.connection import open_warehouse
from warehouse.declared import DeclaredStage, declare_stages
from warehouse.evaluations import find_evaluation_before, find_other_corpora, list_evaluations, record_evaluation
from warehouse.records import record_run, register_artefact

TORCH = {"torch": "2.13.0"}


@pytest.fixture
def con(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with open_warehouse(tmp_path / "warehouse.duckdb") as opened:
        declare_stages(opened, [declared(name, **how) for name, how in STAGES.items()])
        yield opened


# What stages declare, as those of a run do.
STAGES: Mapping[str, Mapping[str, Any]] = {
    "predictions": {"subject": "asking", "extent": ["conditions", "k"], "fallbacks": {"reader": "backbone"}},
    "benchmark": {"subject": "benchmark data", "roles": ["questions"], "kinds": ["benchmark"]},
    "held-out": {"subject": "held-out questions", "roles": ["questions"], "kinds": ["benchmark"]},
    "judgements": {"subject": "judge", "beside": True},
    "backbone": {"subject": "reader"},
    "transfer": {"subject": "projection to the reader", "essential": True},
}


def declared(name: str, **how: Any) -> dict[str, Any]:
    """A row of the table stage."""
    plain: dict[str, Any] = {"name": name, "subject": name}
    return vars(DeclaredStage(**(plain | how)))


def register(
    con: DuckDBPyConnection,
    stage: str,
    name: str,
    *,
    recipe: Mapping[str, object] | None = None,
    inputs: Mapping[str, str] | None = None,
    libraries: Mapping[str, str] = TORCH,
    version: str = "1",
) -> str:
    record = {
        "fingerprint": name,
        "stage": stage,
        "version": version,
        "recipe": dict(recipe or {}),
        "inputs": dict(inputs or {}),
        "num_rows": 0,
        "num_bytes": 0,
        "shards": [],
        "content_sha256": name,
        "seconds": 1.0,
        "measured": {},
        "libraries": dict(libraries),
        "commit": None,
        "created": "2026-11-25T00:00:00+00:00",
    }
    register_artefact(con, record, table=None, folder=Path("nowhere"))
    return name


def evaluated(con: DuckDBPyConnection, name: str, *, encoder: str, prompt: str = "a", **how) -> str:
    bank = register(con, "bank", f"bank of {encoder}", inputs={"encoder": encoder, "knowledge": "items"})
    inputs = {"encoder": encoder, "bank": bank, "knowledge": "items"}
    return register(con, "predictions", name, recipe={"prompts_sha256": prompt * 64}, inputs=inputs, **how)


def told(con: DuckDBPyConnection, before: str, now: str) -> list[str]:
    return [str(change) for change in list_changes(con, before, now)]


def test_another_prompt_is_told_by_its_name_and_hash(con: DuckDBPyConnection) -> None:
    evaluated(con, "before", encoder="E")
    evaluated(con, "now", encoder="E", prompt="b")
    assert told(con, "before", "now") == ["prompt (predictions): aaaaaaaaaaaa -> bbbbbbbbbbbb"]
    assert list_changed_inputs(con, "before", "now") == []
    assert told(con, "now", "now") == []


def test_a_library_is_told_and_so_is_a_stage_that_works_otherwise(con: DuckDBPyConnection) -> None:
    evaluated(con, "before", encoder="E")
    evaluated(con, "now", encoder="E", libraries={"torch": "2.15.0"}, version="2")
    assert told(con, "before", "now") == [
        "how asking works (predictions): version 1 -> version 2",
        "library torch (predictions): 2.13.0 -> 2.15.0",
    ]


def test_of_a_new_encoder_the_first_cause_is_told_and_not_its_consequences(con: DuckDBPyConnection) -> None:
    for name, threshold in (("few", 0.9), ("many", 0.5)):
        samples = register(con, "filter", f"{name} samples", recipe={"min_metric_score": threshold})
        register(con, "encoder", name, inputs={"samples": samples})
    evaluated(con, "before", encoder="few")
    evaluated(con, "now", encoder="many")
    assert told(con, "before", "now") == ["filter: min_metric_score (filter): 0.9 -> 0.5"]
    assert list_changed_inputs(con, "before", "now") == ["bank", "encoder"]


def test_an_encoder_from_elsewhere_is_told_by_its_fingerprint(con: DuckDBPyConnection) -> None:
    evaluated(con, "before", encoder="E")
    evaluated(con, "now", encoder="F")
    assert told(con, "before", "now") == ["encoder (encoder): E -> F"]


def test_two_kinds_of_benchmark_are_said_to_be_two_and_their_making_is_not_compared(con: DuckDBPyConnection) -> None:
    register(con, "samples", "kept", recipe={"min_metric_score": 1.0})
    register(con, "held-out", "own", recipe={"benchmark": "own"}, inputs={"kept": "kept"}, version="2")
    recipe = {"benchmark": "okvqa", "revision": "7", "part": "val", "num_questions": 400}
    register(con, "benchmark", "released", recipe=recipe)
    for name, questions in (("before", "own"), ("now", "released")):
        register(con, "predictions", name, recipe={"k": [3]}, inputs={"questions": questions})
    [change] = list_changes(con, "before", "now")
    assert str(change) == ("another benchmark (questions): held-out own (own) -> benchmark released (okvqa)")
    assert list_changed_inputs(con, "before", "now") == ["benchmark data"]

    register(con, "benchmark", "set aside", recipe={"benchmark": "own"}, inputs={"kept": "kept"})  # in older stores
    assert [change.subject for change in list_changes(con, "set aside", "released")] == ["another thing"]


def test_how_much_was_asked_is_told_apart_from_causes(con: DuckDBPyConnection) -> None:
    register(con, "predictions", "before", recipe={"conditions": ["none"], "k": [3]})
    register(con, "predictions", "now", recipe={"conditions": ["none", "memory"], "k": [3, 5]}, inputs={"foreign": "F"})
    assert {change.subject: change.extent for change in list_changes(con, "before", "now")} == {
        "asking: conditions": True,
        "asking: k": True,
        "foreign": True,
    }


def test_an_unknown_artefact_is_refused(con: DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="no artefact 'lost'"):
        list_changes(con, "lost", "lost too")


def test_an_evaluation_finds_the_one_before_it_in_its_own_series(con: DuckDBPyConnection) -> None:
    shared = {"recipe_name": "tiny", "questions": "q", "predictions": "p", "scores": "s", "encoder": "E"}
    series = [
        ("one", "latest", "okvqa"),
        ("two", "latest", "infoseek"),
        ("three", "E", "okvqa"),
        ("four", "latest", "okvqa"),
    ]
    rows = [shared | {"run_id": run, "encoder_name": name, "benchmark": asked} for run, name, asked in series]
    for row in rows:
        record_evaluation(con, row)
    before = find_evaluation_before(con, rows[3])
    assert before is not None and before["run_id"] == "one"
    assert find_evaluation_before(con, rows[1]) is None and find_evaluation_before(con, rows[2]) is None
    assert [row["encoder_name"] for row in list_evaluations(con, "three")] == ["E"]
    with pytest.raises(ValueError, match="lacks scores"):
        record_evaluation(con, {key: value for key, value in rows[0].items() if key != "scores"})


def test_the_recipes_of_two_runs_are_compared_field_by_field(con: DuckDBPyConnection) -> None:
    for run, prompts in (("one", "short"), ("two", "reason")):
        recipe = {"evaluation": {"prompts": prompts, "k": 3}}
        record_run(con, {"run_id": run, "flow": "f", "recipe_name": "r", "recipe": recipe, "flow_run_id": None})
    assert list_recipe_differences(con, "one", "two") == [("evaluation.prompts", "short", "reason")]


def answered(con: DuckDBPyConnection, name: str, **inputs: str) -> str:
    return register(con, "predictions", name, inputs={"backbone": "VLM", "knowledge": "items"} | inputs)


def test_another_reader_is_a_cause_and_so_is_a_projection_to_it(con: DuckDBPyConnection) -> None:
    answered(con, "by the backbone")
    answered(con, "by a language model", reader="LLM")
    answered(con, "through a projection", reader="LLM", transfer="P")
    [read] = list_changes(con, "by the backbone", "by a language model")
    assert (str(read), read.extent) == ("reader (reader): VLM -> LLM", False)
    assert list_changed_inputs(con, "by the backbone", "by a language model") == ["reader"]
    [carried] = list_changes(con, "by a language model", "through a projection")
    assert (str(carried), carried.extent) == ("projection to the reader (transfer): none -> P", False)


def test_another_backbone_is_told_once_where_it_answers_itself(con: DuckDBPyConnection) -> None:
    answered(con, "before")
    answered(con, "now", backbone="another VLM")
    assert [str(change) for change in list_changes(con, "before", "now")] == ["reader (backbone): VLM -> another VLM"]


def test_readers_of_other_names_have_series_of_their_own(con: DuckDBPyConnection) -> None:
    shared = {"recipe_name": "tiny", "encoder_name": "latest", "benchmark": "okvqa", "encoder": "E", "questions": "q"}
    readers = [("one", None), ("two", "small"), ("three", None), ("four", "large"), ("five", "small")]
    rows = {
        run: shared | {"predictions": "p", "scores": "s", "run_id": run, "reader": str(name), "reader_name": name}
        for run, name in readers
    }
    for row in rows.values():
        record_evaluation(con, row)
    before = {run: found and found["run_id"] for run in rows for found in [find_evaluation_before(con, rows[run])]}
    assert before == {"one": "three", "two": "five", "three": "one", "four": None, "five": "two"}


SHARED = {"recipe_name": "tiny", "encoder_name": "latest", "benchmark": "okvqa", "encoder": "E", "questions": "q"}


def evaluated_on(con: DuckDBPyConnection, run: str, corpus: str | None, items: str) -> dict[str, Any]:
    """An evaluation whose run read a corpus (None: it was not recorded), with the fingerprint of its items."""
    if corpus is not None:
        recipe = {"knowledge": {"corpus": corpus}}
        record_run(con, {"run_id": run, "flow": "f", "recipe_name": "tiny", "recipe": recipe, "flow_run_id": None})
    register(con, "predictions", f"answers of {run}", inputs={"knowledge": items})
    row = SHARED | {"run_id": run, "predictions": f"answers of {run}", "scores": "s"}
    record_evaluation(con, row)
    return row


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a/photos", "/b/photos"),
        ("hf://datasets/one/photos", "hf://datasets/other/photos"),
        ("countries", "/a/countries"),
        ("/a/photos", "/a/texts"),
    ],
)
def test_two_corpora_have_series_of_their_own_however_their_addresses_end(
    con: DuckDBPyConnection, one: str, other: str
) -> None:
    rows = [evaluated_on(con, "first", one, "items of one"), evaluated_on(con, "second", other, "items of other")]
    assert find_evaluation_before(con, rows[1]) is None
    assert find_other_corpora(con, *rows) == (one, other)
    edited = evaluated_on(con, "third", one, "items of one, edited")
    before = find_evaluation_before(con, edited)
    assert before is not None and before["run_id"] == "first"
    assert find_other_corpora(con, rows[0], edited) is None


def test_a_corpus_that_has_moved_and_one_that_was_not_recorded_stay_in_their_series(con: DuckDBPyConnection) -> None:
    evaluated_on(con, "first", "/a/photos", "items")
    moved = evaluated_on(con, "second", "/b/photos", "items")
    before = find_evaluation_before(con, moved)
    assert before is not None and before["run_id"] == "first"
    unknown = evaluated_on(con, "third", None, "other items")
    before = find_evaluation_before(con, unknown)
    assert before is not None and before["run_id"] == "second"


def answered_by(con: DuckDBPyConnection, run: str, weights: str, **names: str) -> dict[str, Any]:
    """An evaluation whose run had models of these names or folders, all with these weights."""
    recipe = {"knowledge": {"corpus": "countries"}} | {role: {"name": name} for role, name in names.items()}
    record_run(con, {"run_id": run, "flow": "f", "recipe_name": "tiny", "recipe": recipe, "flow_run_id": None})
    register(con, "predictions", f"answers of {run}", inputs={"knowledge": "items", **dict.fromkeys(names, weights)})
    row = SHARED | {"run_id": run, "predictions": f"answers of {run}", "scores": "s"}
    record_evaluation(con, row)
    return row


@pytest.mark.parametrize("role", ["backbone", "reader"])
def test_two_models_in_folders_of_one_last_name_have_series_of_their_own(con: DuckDBPyConnection, role: str) -> None:
    runs = [("first", "/a/model", "w1"), ("second", "/b/model", "w2"), ("third", "/a/model", "w3"),
            ("moved", "/c/model", "w2")]  # fmt: skip
    found = {}
    for run, folder, weights in runs:
        before = find_evaluation_before(con, answered_by(con, run, weights, **{role: folder}))
        found[run] = before and before["run_id"]
    assert found == {"first": None, "second": None, "third": "first", "moved": "second"}


def test_two_long_values_stay_different_when_they_are_shortened(con: DuckDBPyConnection) -> None:
    folder = "/a/folder/deep" * 8
    for run, corpus in (("one", f"{folder}/2024/photos"), ("two", f"{folder}/2025/photos")):
        recipe = {"knowledge": {"corpus": corpus}}
        record_run(con, {"run_id": run, "flow": "f", "recipe_name": "r", "recipe": recipe, "flow_run_id": None})
    [(field, before, now)] = list_recipe_differences(con, "one", "two")
    assert field == "knowledge.corpus" and before.endswith("2024/photos") and now.endswith("2025/photos")
    assert max(len(before), len(now)) <= 60


def test_a_stage_that_declares_nothing_is_called_by_its_name(con: DuckDBPyConnection) -> None:
    register(con, "translations", "before", recipe={"k": 1})
    register(con, "translations", "now", recipe={"k": 2}, version="2")
    assert told(con, "before", "now") == [
        "how translations works (translations): version 1 -> version 2",
        "translations: k (translations): 1 -> 2",
    ]


def test_what_a_stage_declares_decides_what_is_told_of_it(con: DuckDBPyConnection) -> None:
    register(con, "translations", "before", recipe={"k": 1, "kind": "a"})
    register(con, "translations", "now", recipe={"k": 2, "kind": "a"})
    declare_stages(con, [declared("translations", subject="translating", extent=["k"])])
    [change] = list_changes(con, "before", "now")
    assert (change.subject, change.extent) == ("translating: k", True)
    declare_stages(con, [declared("translations", subject="translating", kinds=["k"])])
    [change] = list_changes(con, "before", "now")
    assert (change.subject, change.before) == ("another thing", "translations before (1)")


def test_an_input_is_called_as_the_stage_that_made_it_declares(con: DuckDBPyConnection) -> None:
    for name in ("here", "there"):
        register(con, "benchmark", name, recipe={"benchmark": "okvqa", "part": name})
        register(con, "predictions", f"asked {name}", inputs={"questions": name, "foreign": name})
    assert list_changed_inputs(con, "asked here", "asked there") == ["benchmark data", "foreign"]
