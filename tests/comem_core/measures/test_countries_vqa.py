"""The command that measures what memory carries on countries, and the rows that it writes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comem_core.backbone.loading import load_backbone
from comem_core.measures import countries_vqa
from comem_core.measures.countries.exam import Answers, CountriesExam
from comem_core.measures.countries_vqa import AnswerMarker
from comem_core.measures.results import Measured, read_results, write_results
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe

FIELDS = {"measure", "recipe", "value", "low", "high", "unit", "n", "seeds", "command", "commit", "machine"}
HEADLINE = (
    "em_none em_text_gold em_text_k3 em_memory_gold em_memory_k3 em_shuffled em_foreign em_empty prompt_tokens_text_k3"
)
FEW = ("--part", "dev", "--questions", "10")


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return a function (*arguments) that runs the command in an empty folder, and returns its rows by measure."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> dict[str, dict[str, Any]]:
        countries_vqa.main(arguments)
        return {row["measure"]: row for row in read_results(Path("docs/results/countries_vqa.json"))}

    return run


@pytest.fixture(scope="module")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (**changes to the recipe) that saves an untrained encoder for the shipped base."""

    def save(**changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "encoder"
        recipe = replace(EncoderRecipe(num_heads=4, lora_rank=2, num_rounds=1), **changes)
        MemoryEncoder(load_backbone("tiny"), recipe).save(folder)
        return folder

    return save


def marked(exam: CountriesExam, *right: np.ndarray) -> Measured:
    answers = [Answers(right_Q, 10.0) for right_Q in right]
    return AnswerMarker(exam, "make it").score("em", answers, seeds=range(len(right)))


def test_the_table_has_every_condition_with_all_fields(
    measure: Callable[..., dict[str, dict[str, Any]]], exam: CountriesExam, capsys: pytest.CaptureFixture[str]
):
    others = replace(marked(exam, np.ones(20)), measure="em_text_items_1")
    write_results("countries_vqa", [others])
    rows = measure("table", *FEW)
    assert set(HEADLINE.split()) <= set(rows)
    assert all(set(row) == FIELDS for row in rows.values())
    assert next(iter(rows)) == "em_text_items_1" and rows["em_text_items_1"]["command"] == "make it"
    measured = [row for name, row in rows.items() if name != "em_text_items_1"]
    assert {row["command"] for row in measured} == {f"{countries_vqa.COMMAND} table --part dev --questions 10"}
    assert all(row["recipe"] == "tiny_cpu" and row["seeds"] == [0] and row["machine"] for row in measured)
    percents = [row for row in measured if row["unit"] == "%"]
    assert all(row["low"] is None or 0 <= row["low"] <= row["value"] <= row["high"] <= 100 for row in percents)
    shuffled = [rows[f"em_shuffled{part}"] for part in ("", "_stated", "_unstated") if f"em_shuffled{part}" in rows]
    assert shuffled[0]["n"] == sum(row["n"] for row in shuffled[1:]) == 10
    assert rows["memory_vectors_k3"]["value"] == 48
    assert rows["prompt_tokens_text_k3"]["value"] > 100
    printed = capsys.readouterr().out
    assert "em_memory_k3" in printed and "docs/results/countries_vqa.json" in printed


def test_the_parts_of_a_condition_are_its_questions_by_language_by_kind_of_fact_and_by_split(exam: CountriesExam):
    right_Q = np.random.default_rng(0).integers(0, 2, size=20).astype(float)
    rows = list(AnswerMarker(exam, "make it").mark_in_detail("em", [Answers(right_Q, 10.0)], seeds=[0]))
    parts = {row.measure.removeprefix("em/"): row for row in rows}
    for values_Q in ([q.language for q in exam.questions], [q.attribute for q in exam.questions]):
        names = sorted(set(map(str, values_Q)))
        assert sum(parts[name].n for name in names) == 20
        for name in names:
            assert parts[name].value == pytest.approx(100 * right_Q[np.array(values_Q) == name].mean(), abs=0.01)
    assert {"unseen_entity", "unseen_question"} <= set(parts)


def test_encoders_are_averaged_question_by_question_and_the_row_says_their_seeds(exam: CountriesExam):
    first, second = np.array([1.0, 0.0] * 10), np.array([1.0] * 20)
    row = marked(exam, first, second)
    assert (row.value, row.n, tuple(row.seeds)) == (75.0, 20, (0, 1))
    assert row.low is not None and row.high is not None and row.low < 75 < row.high


def test_an_interval_is_by_country(exam: CountriesExam):
    """Two questions on each of ten countries: where both share their mark, there are ten marks and not twenty."""
    ten = [replace(question, entity_id=str(place // 2)) for place, question in enumerate(exam.questions)]
    of_ten, alike = replace(exam, questions=ten), np.array([1.0, 1.0, 0.0, 0.0] * 5)
    wide, narrow = marked(of_ten, alike), marked(exam, alike)
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low - 5
    two = [replace(question, entity_id="ab"[place % 2]) for place, question in enumerate(exam.questions)]
    row = marked(replace(exam, questions=two), np.array([1.0, 0.0] * 10))
    assert (row.value, row.low, row.high) == (50.0, None, None)  # nothing is known about a third country


def test_items_are_shown_one_to_twenty(
    measure: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(countries_vqa, "DEPTHS", (1, 3))
    rows = measure("items", "--part", "dev", "--questions", "4")
    assert list(rows) == [f"{name}_items_{k}" for k in (1, 3) for name in ("em_text", "em_memory", "prompt_tokens")]
    assert rows["prompt_tokens_items_3"]["value"] > rows["prompt_tokens_items_1"]["value"] + 50


def test_finding_shows_what_retrieval_finds_and_the_gold_item_anywhere_among_look_alikes(
    measure: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(countries_vqa, "FINDING", (1, 3))
    rows = measure("finding", "--part", "dev", "--questions", "12")
    assert list(rows) == [
        *("found_retrieved_1", "em_text_retrieved_1", "em_memory_retrieved_1"),
        *("found_retrieved_3", "em_text_retrieved_3", "em_memory_retrieved_3"),
        *("em_text_look_alikes_3", "em_memory_look_alikes_3"),
    ]
    values = {name: row["value"] for name, row in rows.items()}
    assert 0 < values["em_text_retrieved_1"] <= values["found_retrieved_1"] < values["found_retrieved_3"]


def test_a_variant_is_measured_under_its_name(
    measure: Callable[..., dict[str, dict[str, Any]]], other_encoder: Callable[..., Path]
):
    folder = other_encoder(num_vectors=2, seed=7)
    rows = measure("variants", f"vectors_2={folder}", "vectors_8=tiny-encoder", "--part", "dev", "--questions", "4")
    assert list(rows) == [
        f"em_memory_{depth}_{name}" for name in ("vectors_2", "vectors_8") for depth in ("gold", "k3", "k3_drawn")
    ]
    row = rows["em_memory_k3_vectors_2"]
    assert row["seeds"] == [7]
    told = f"variants vectors_2=.../{folder.parent.name}/encoder --part dev --questions 4"
    assert row["command"] == f"{countries_vqa.COMMAND} {told}"


def test_a_variant_without_a_folder_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        countries_vqa.main(["variants", "tiny-encoder"])
    assert "NAME=FOLDER" in capsys.readouterr().err


def test_encoders_of_different_recipes_are_not_averaged(other_encoder: Callable[..., Path]):
    one, seed, vectors = other_encoder(), other_encoder(seed=1), other_encoder(num_vectors=2)
    assert [each.recipe.seed for each in countries_vqa._load_encoders_of_one_recipe([str(one), str(seed)])] == [0, 1]
    with pytest.raises(ValueError, match="more than the seed"):
        countries_vqa._load_encoders_of_one_recipe([str(one), str(vectors)])
