"""The world in which a reader knows half of the answers, and the measures of the gate, at a small size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comem_core.backbone.loading import load_backbone
from comem_core.measures.countries.exam import CountriesExam
from comem_core.measures.gate import half_known
from comem_core.measures.gate.__main__ import HELD_OUT, SCORED, AskedWorld, GateMarker, choose_by_gate, main
from comem_core.measures.gate.asking import ITEMS, NONE, RETRIEVED, Asked, GateExam
from comem_core.measures.gate.half_known import is_known
from comem_core.measures.results import read_results
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import load_benchmark_questions


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's base and encoder after three steps of each."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half_known, "EVERY", 1)
        half_known.main(["--out", str(folder), "--base-steps", "3", "--encoder-steps", "1"])
    return folder


def test_half_of_all_countries_are_known_and_another_half_with_another_seed():
    questions = load_benchmark_questions("test")
    known = np.array([[is_known(each, seed=seed) for each in questions] for seed in (0, 1)])
    assert (known.mean(axis=1) > 0.35).all() and (known.mean(axis=1) < 0.65).all()
    assert 0.2 < (known[0] != known[1]).mean() < 0.8
    by_country: dict[str | None, set[bool]] = {}
    for each in questions:
        by_country.setdefault(each.entity_id, set()).add(is_known(each))
    assert all(len(found) == 1 for found in by_country.values())


def test_the_base_is_taught_the_answers_and_the_encoder_is_fitted_to_it(half: Path):
    steps = (half / "base.jsonl").read_text().splitlines()
    assert len(steps) == 3 and all('"known"' in step for step in steps)
    base = load_backbone(str(half / "base"))
    assert base.identify_weights() != load_backbone("tiny").identify_weights()
    assert MemoryEncoder.load(half / "encoder", base).recipe.num_vectors == 16


def test_every_question_is_asked_with_items_that_help_and_with_three_kinds_that_do_not(half: Path):
    base = load_backbone(str(half / "base"))
    questions = [each for each in load_benchmark_questions(HELD_OUT) if each.language == "en"][:6]
    exam = GateExam(CountriesExam.with_questions(base, questions), MemoryEncoder.load(half / "encoder", base))
    asked = exam.ask_all()
    assert set(asked) == {NONE, *ITEMS}
    for name in ITEMS:
        assert asked[name].scores_QK.shape == (6, 3) and (np.diff(asked[name].scores_QK, axis=1) <= 0).all()
        assert (asked[name].logprob_Q < 0).all() and set(asked[name].right_Q) <= {0.0, 1.0}
        for question in questions:
            shown = exam.choose(name)(question)
            assert len(set(shown)) == 3 and (name == RETRIEVED or question.gold_item_id not in shown)
    assert asked[RETRIEVED].scores_QK[:, 0].mean() > asked["drawn"].scores_QK[:, 0].mean() + 0.2


def make_asked(right: list[float], logprob: list[float], score: float) -> Asked:
    return Asked(np.array(right), np.array(logprob), np.array([[score, score - 0.1]] * len(right)))


@pytest.fixture(scope="module")
def world() -> AskedWorld:
    """Four questions, of which the reader knows two and is sure of these; with right items, memory answers three."""
    exam = CountriesExam(load_backbone("tiny"), load_benchmark_questions(SCORED)[:4], {}, {})
    asked = {
        NONE: make_asked([1, 1, 0, 0], [-0.01, -0.02, -0.9, -0.8], 0.0),
        RETRIEVED: make_asked([0, 1, 1, 1], [-0.1] * 4, 0.9),
    }
    asked |= {name: make_asked([0, 0, 0, 0], [-0.1] * 4, 0.1) for name in ITEMS if name != RETRIEVED}
    return AskedWorld({HELD_OUT: exam, SCORED: exam}, {HELD_OUT: asked, SCORED: asked}, 0)


def test_the_gate_gives_the_better_answer_of_both(world: AskedWorld):
    uses = choose_by_gate(world)
    assert uses[RETRIEVED].tolist() == [False, True, True, True]
    assert not any(uses[name].any() for name in ITEMS if name != RETRIEVED)
    rows = {row.measure: row.value for row in GateMarker("w", [world], "make it").measure()}
    assert (rows["em_none_w"], rows["em_memory_retrieved_w"], rows["em_gated_retrieved_w"]) == (50, 75, 100)
    assert (rows["em_memory_drawn_w"], rows["em_gated_drawn_w"], rows["alone_drawn_w"]) == (0, 50, 100)
    assert (rows["alone_retrieved_w"], rows["em_by_score_retrieved_w"]) == (25, 75)
    known = {row.measure: row for row in GateMarker("w", [world], "make it").measure_known()}
    assert sum(known[f"em_none_{kind}_w"].n for kind in ("known", "unknown")) == 4


def test_the_command_writes_a_row_for_each_measure(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    main(["half", str(half), "--questions", "8"])
    rows: dict[str, dict[str, Any]] = {row["measure"]: row for row in read_results(Path("docs/results/gate.json"))}
    assert {"em_none_half", "em_gated_retrieved_half", "alone_drawn_half", "em_gated_irrelevant_known_half"} <= set(
        rows
    )
    assert all(0 <= row["value"] <= 100 and row["seeds"] == [0] for row in rows.values())
    assert rows["em_none_half"]["command"].endswith(f"half .../{half.parent.name}/{half.name} --questions 8")
