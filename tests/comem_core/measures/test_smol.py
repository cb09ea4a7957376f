"""The measures of a real reader: what each condition shows, and what becomes a row."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comem_core.backbone.conversation import Generated
from comem_core.evaluation.passage_questions import (
    Case,
    choose_others,
    choose_three,
    make_invented_cases,
    make_short_cases,
    make_unstated_cases,
)
from comem_core.measures import smol
from comem_core.measures.results import write_results
from comem_core.measures.smol import CaseAnswer, ask, draw, measure_conditions
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.smol import STEPS


@pytest.fixture(scope="module")
def encoder(new_adapted_encoder: Callable[..., MemoryEncoder]) -> MemoryEncoder:
    return new_adapted_encoder(prompts=NamingRecipe().encoder.prompts)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return make_short_cases("dev", num_cases=24)


def test_every_condition_answers_every_case_and_shows_what_it_says(
    encoder: MemoryEncoder, cases: list[Case], monkeypatch: pytest.MonkeyPatch
):
    shown: dict[str, list[tuple[int, bool, str]]] = {}
    answer = encoder.answer_batch

    def watched(conversations, memories, **options):
        for conversation, memory in zip(conversations, memories, strict=True):
            words = " ".join(part for turn in conversation for part in turn.content if isinstance(part, str))
            shown.setdefault(condition, []).append((len(memory), "Knowledge: " in words, words))
        return answer(conversations, memories, **options)

    monkeypatch.setattr(encoder, "answer_batch", watched)
    for condition in smol.CONDITIONS:
        asked = ask(encoder, cases, condition)
        assert [each.case for each in asked] == cases
        assert {each.correct for each in asked} <= {0.0, 1.0}
    assert {len(each) for each in shown.values()} == {24}
    assert {each[0] for name in smol.BY_MEMORY for each in shown[name]} == {8, 3 * 8}
    assert {each[0] for each in shown["memory_three"]} == {3 * 8}
    assert {each[0] for name in smol.BY_TEXT for each in shown[name]} == {0}
    for case, (_, has_item, words) in zip(cases, shown["text_gold"], strict=True):
        assert has_item and case.item.text in words and "Poseidonis" in words
    for items, (_, _, words) in zip(choose_three(cases), shown["text_three"], strict=True):
        assert all(item.text in words for item in items)
    assert not any(case.item.text in each[2] for case, each in zip(cases, shown["none"], strict=True))
    assert all("text above" in each[2] for name in smol.BY_MEMORY for each in shown[name])


def test_the_control_has_the_memory_of_another_passage(encoder: MemoryEncoder, cases: list[Case]):
    own, other, empty = (smol._make_memories(encoder, cases, name) for name in ("memory_gold", "shuffled", "empty"))
    assert all(not first.equal(second) for first, second in zip(own, other, strict=True))
    assert all(memory.equal(empty[0]) for memory in empty)


def test_the_loss_of_the_right_answer_tells_conditions_apart(encoder: MemoryEncoder, cases: list[Case]):
    losses = [smol.measure_loss(encoder, cases, name) for name in ("no_memory", "memory_gold", "shuffled", "empty")]
    assert len({round(loss, 4) for loss in losses}) == 4
    assert smol.measure_loss(encoder, cases, "shuffled") == pytest.approx(losses[2])


def test_an_unknown_condition_is_refused(encoder: MemoryEncoder, cases: list[Case]):
    with pytest.raises(ValueError, match="unknown condition 'oracle'; expected one of none, text_gold"):
        ask(encoder, cases, "oracle")


def test_rows_state_shares_overall_and_by_kind_with_their_numbers(cases: list[Case]):
    asked = [CaseAnswer(case, "memory_gold", "", float(case.kind == "capital"), 1.0) for case in cases]
    rows = {row.measure: row for row in measure_conditions(asked, suffix="_short", command="measure")}
    assert rows["accuracy_memory_gold_short"].value == 12.5
    assert rows["accuracy_memory_gold_short"].n == 24
    assert rows["accuracy_memory_gold_short_capital"].value == 100.0
    assert rows["accuracy_memory_gold_short_area"].value == 0.0
    assert rows["contains_memory_gold_short"].value == 100.0
    assert len(rows) == 10


def test_invented_passages_are_asked_with_worked_examples_of_their_own_kind_and_numbers_are_told_apart(
    encoder: MemoryEncoder, monkeypatch: pytest.MonkeyPatch
):
    cases = make_invented_cases("dev", num_cases=40)
    assert cases == make_invented_cases("dev", num_cases=40)
    assert {case.kind for case in cases} == {"number", "word"}
    for case, three in zip(cases, choose_three(cases), strict=True):
        assert case.question.answers[0] in case.item.text and 30 <= len(case.item.text.split()) <= 80
        assert case.score(case.question.answers[0]) == 1.0 and case.score("nothing") == 0.0
        assert case.item in three and len({item.entity_id for item in three}) == 3
    assert len({three.index(case.item) for case, three in zip(cases, choose_three(cases), strict=True)}) == 3
    words: list[str] = []

    def watched(conversations, memories, **options):
        words.extend(str(conversation) for conversation in conversations)
        return []

    monkeypatch.setattr(encoder, "answer_batch", watched)
    with pytest.raises(ValueError, match="zip"):
        ask(encoder, cases[:2], "text_gold")
    assert "Larkspur Lamp" in words[0] and "Poseidonis" not in words[0]


def test_passages_in_prose_answer_their_questions_with_fewer_sentences() -> None:
    plain, prose = (make_invented_cases("dev", num_cases=60, prose=prose) for prose in (False, True))
    assert {case.question.question_id for case in plain}.isdisjoint(case.question.question_id for case in prose)
    assert all(case.question.answers[0] in case.item.text for case in prose)
    counted = [sum(case.item.text.count(".") for case in cases) for cases in (plain, prose)]
    assert counted[1] < 0.8 * counted[0]


def test_a_question_that_its_passage_does_not_answer_is_right_as_not_stated_and_another_value_is_counted(
    encoder: MemoryEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = make_unstated_cases("dev", num_cases=40)
    asked = {case.item.text: case.question.question for case in make_invented_cases("dev", num_cases=40)}
    for case, other in zip(cases, choose_others(cases), strict=True):
        assert all(value in case.item.text for value in case.others) and other != case.item
        assert asked[case.item.text] != case.question.question
        assert [case.score(answer) for answer in ("not stated", "Not stated.", case.others[0])] == [1, 1, 0]
    answers = ["not stated", cases[1].others[-1], "something else", "It is not stated"]
    said = [Generated(text=answer, prompt_tokens=1, answer_tokens=1, truncated=False) for answer in answers]
    monkeypatch.setattr(encoder, "answer_batch", lambda conversations, memories, **options: said)
    rows = measure_conditions(ask(encoder, cases[:4], "memory_gold"), suffix="_unstated", command="measure")
    assert {row.measure: row.value for row in rows} == {
        "accuracy_memory_gold_unstated": 25.0,
        "contains_memory_gold_unstated": 50.0,
        "other_memory_gold_unstated": 25.0,
    }


def test_an_answer_that_says_more_than_the_value_contains_it(
    encoder: MemoryEncoder, cases: list[Case], monkeypatch: pytest.MonkeyPatch
):
    said = Generated(
        text=f"It is {cases[0].question.answers[0]}, I think.", prompt_tokens=1, answer_tokens=9, truncated=False
    )
    monkeypatch.setattr(encoder, "answer_batch", lambda conversations, memories, **options: [said] * len(memories))
    [asked] = ask(encoder, cases[:1], "none")
    assert (asked.correct, asked.contains) == (0.0, 1.0)


def test_a_curve_is_measured_from_the_snapshots_of_a_run_and_drawn(
    encoder: MemoryEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for step in (1, 3):
        encoder.save(tmp_path / "run" / smol.SNAPSHOTS / f"{step:06d}")
    steps = [{"step": step, "samples": 8, "measures": {"answer_loss": 1.0}} for step in (1, 2, 2, 3)]
    steps.insert(0, {"step": 1, "samples": 32, "measures": {"naming_loss": 1.0}})
    (tmp_path / "run" / STEPS).write_text("\n".join(map(json.dumps, steps)))
    monkeypatch.setattr(smol, "PLOT", tmp_path / "plots" / "curve.svg")
    monkeypatch.setattr(MemoryEncoder, "from_pretrained", lambda folder, dtype: encoder)
    options = argparse.Namespace(run=tmp_path / "run", questions=16, dtype="float32")
    rows = smol.measure_curve(options, say=lambda line: None)
    assert [row.measure for row in rows if row.unit == "%"] == [
        f"accuracy_{condition}_invented_dev_after_{seen}"
        for seen in (8, 24)
        for condition in ("memory_gold", "shuffled")
    ]
    losses = {row.measure: row.value for row in rows if row.unit == "nats"}
    assert len(losses) == 2 * 4
    assert losses["loss_memory_gold_invented_dev_after_8"] == losses["loss_memory_gold_invented_dev_after_24"]
    assert "<svg" in (tmp_path / "plots" / "curve.svg").read_text()
    stored = json.loads(write_results("smol", rows, folder=tmp_path).read_text())
    assert stored[0]["n"] == 16
    draw(rows[:1], tmp_path / "again.svg")
