"""The condition `gated`: its gate is fitted on other questions, and it chooses between answers that are there."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import comem_core as comem
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.held_out.gate import NUM_FOLDS, FittedGate, Gate, HeldOutAnswers, choose_fold, fit_gate
from comem_core.recipes.conditions import check_conditions
from comem_core.worlds.countries.world import load_benchmark_questions
from tasks.data.benchmarks import BENCHMARK
from tasks.data.retrieve import retrieve
from tasks.engine.store import Reference
from tasks.evaluation.answer import answer_benchmark
from tasks.evaluation.contamination import find_contamination
from tasks.evaluation.exam import Exam
from tasks.evaluation.held_out.gate import GATE, Trial, describe_gate, find_trial_of_gate, fit_gates
from tasks.evaluation.score import score_predictions
from tasks.rows.tables import make_question_table, read_questions, read_rows
from tasks.run import Run
from tests.tasks.evaluation.finished_store import Finished, put
from warehouse.schemas import check_rows

CONDITIONS = ("none", "memory", "gated")
K = 2


def make_asking(run: Run, *, part: str | None = None, conditions: tuple[str, ...] = CONDITIONS, **changes: Any) -> Run:
    asked = replace(run.recipe.evaluation, part=part, conditions=conditions, k=K, **changes)
    return run.with_recipe(evaluation=asked)


def trial_of(run: Run) -> Trial:
    trial = find_trial_of_gate(run)
    assert trial is not None
    return trial


@pytest.fixture(scope="module")
def held(finished: Finished) -> Exam:
    """The questions of the part `dev`, on which a gate may be fitted."""
    return finished.make_exam()


@pytest.fixture(scope="module")
def gate(finished: Finished, held: Exam) -> Reference:
    run = make_asking(finished.run)
    trial = trial_of(run)
    return fit_gates.fn(run, trial, held, answer_benchmark.fn(trial.run, held, is_trial=True))


@pytest.fixture(scope="module")
def exam(finished: Finished, held: Exam, gate: Reference) -> Exam:
    """Questions of the part `test`, half of them about countries without an item here."""
    known = {row["entity_id"] for row in read_rows(finished.knowledge)}
    asked = load_benchmark_questions("test")
    chosen = [
        *[each for each in asked if each.entity_id in known][:10],
        *[each for each in asked if each.entity_id not in known][:10],
    ]
    questions = put(finished.run, BENCHMARK, "test questions", make_question_table(chosen))
    return replace(held, questions=questions, retrieved=retrieve.fn(finished.run, finished.index, questions), gate=gate)


def by_condition(predictions: Reference) -> Mapping[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in read_rows(predictions):
        found.setdefault(row["condition"], {})[row["question_id"]] = row
    return found


def fit(answered: Mapping[str, dict[str, dict[str, Any]]], best: Mapping[str, float], among: list[str]) -> FittedGate:
    """Fit a gate on some questions, from the rows of their answers."""
    answers = HeldOutAnswers(
        best_N=[best[each] for each in among],
        none_N=[answered["none"][each]["correct"] for each in among],
        memory_N=[answered["memory"][each]["correct"] for each in among],
        logprob_N=[answered["none"][each]["answer_logprob"] for each in among],
    )
    return fit_gate(answers, max_loss=0.005)


def test_the_answers_that_it_chooses_between_have_to_be_asked():
    check_conditions(CONDITIONS)
    with pytest.raises(ValueError, match="gated chooses between the answers under none and memory; name none too"):
        check_conditions(("memory", "gated"))


def test_a_recipe_without_the_condition_needs_no_gate(finished: Finished):
    assert find_trial_of_gate(finished.run) is None
    assert "gated" not in finished.run.recipe.evaluation.conditions


def test_a_trial_asks_another_part_than_the_one_that_is_scored(finished: Finished):
    scored, tuned = trial_of(make_asking(finished.run)), trial_of(make_asking(finished.run, part="dev"))
    assert scored.is_apart and not tuned.is_apart
    asked = scored.run.recipe.evaluation
    assert (asked.part, asked.conditions, asked.num_questions) == ("dev", ("none", "memory"), 400)
    assert tuned.run.recipe.evaluation.num_questions == finished.run.recipe.evaluation.num_questions
    assert find_benchmark("infoseek").tuning_part is None  # so that its questions are cut into folds


def test_a_gate_is_fitted_on_the_answers_of_its_trial(held: Exam, gate: Reference, finished: Finished):
    [row] = read_rows(gate)
    answered = by_condition(answer_benchmark.fn(trial_of(make_asking(finished.run)).run, held, is_trial=True))
    best = {each["question_id"]: max(each["scores"]) for each in read_rows(held.retrieved)}
    fitted = fit(answered, best, list(best))
    assert (row["k"], row["fold"], row["n"]) == (K, None, len(best))
    assert Gate(threshold=row["threshold"], sure=row["sure"]) == fitted.gate
    assert all(each["answer_logprob"] < 0 for rows in answered.values() for each in rows.values())
    assert f"{100 * fitted.gated:.1f} % gated" in describe_gate(row)


def test_it_chooses_between_answers_that_are_there(finished: Finished, exam: Exam, gate: Reference):
    predictions = answer_benchmark.fn(make_asking(finished.run), exam)
    answered, [fitted] = by_condition(predictions), list(read_rows(gate))
    scores = {row["question_id"]: row["scores"] for row in read_rows(exam.retrieved)}
    trusted = {question_id for question_id, found in scores.items() if max(found[:K]) > fitted["threshold"]}
    assert 0 < len(trusted) < len(scores), "the gate decides one way only, so this test would show nothing"
    assert answered["gated"].keys() == scores.keys()
    for question_id, row in answered["gated"].items():
        alone = answered["none"][question_id]
        is_sure = fitted["sure"] is not None and alone["answer_logprob"] > fitted["sure"]
        source = answered["memory"][question_id] if question_id in trusted and not is_sure else alone
        assert row == source | {name: row[name] for name in ("condition", "k", "prediction_id")} and row["k"] == K
    assert len({row["prediction_id"] for rows in answered.values() for row in rows.values()}) == 3 * len(scores)


def test_what_a_reader_is_sure_of_is_left_to_it(finished: Finished, exam: Exam):
    """The gate of a reader that knows half of the answers, put into the store as its fitting would."""
    answered = by_condition(answer_benchmark.fn(make_asking(finished.run), exam))
    logprobs = sorted(row["answer_logprob"] for row in answered["none"].values())
    sure = logprobs[len(logprobs) // 2]
    measured = {"n": 1, "none": 0.0, "memory": 0.0, "gated": 0.0, "share_gated": 0.0}
    row = {"k": K, "fold": None, "threshold": -1.0, "sure": sure} | measured
    knowing = replace(exam, gate=put(finished.run, GATE, "a gate of certainty", check_rows("gate", [row])))
    found = by_condition(answer_benchmark.fn(make_asking(finished.run), knowing))
    for question_id, chosen in found["gated"].items():
        is_sure = found["none"][question_id]["answer_logprob"] > sure
        assert bool(chosen["memory_vectors"]) != is_sure
    assert found["none"] == answered["none"], "no question is asked again for another gate"


def test_its_score_says_what_share_was_answered_without_memory(finished: Finished, exam: Exam):
    run = make_asking(finished.run)
    predictions = answer_benchmark.fn(run, exam)
    contamination = find_contamination.fn(run, exam.questions, exam.knowledge, exam.encoder)
    scores = score_predictions.fn(run, exam.questions, predictions, contamination)
    rows = [row for row in read_rows(scores) if row["metric"] == "gated"]
    assert {row["condition"] for row in rows} == {"gated"}
    gated = by_condition(predictions)["gated"].values()
    whole = next(row for row in rows if row["split"] == "all")
    assert whole["value"] == pytest.approx(sum(not row["memory_vectors"] for row in gated) / len(gated))
    differences = pq.read_table(scores.folder / "differences.parquet").to_pylist()
    pairs = {(row["first"], row["second"]) for row in differences}
    assert {("gated", "none"), ("gated", "memory")} <= pairs


def test_without_a_part_to_tune_on_no_answer_decides_about_its_own_cluster(finished: Finished, held: Exam):
    run = make_asking(finished.run, part="dev")
    trial = trial_of(run)
    predictions = answer_benchmark.fn(trial.run, held, is_trial=True)
    gates = fit_gates.fn(run, trial, held, predictions)
    rows = {row["fold"]: row for row in read_rows(gates)}
    assert set(rows) == {None, *range(NUM_FOLDS)}
    answered = by_condition(predictions)
    best = {each["question_id"]: max(each["scores"]) for each in read_rows(held.retrieved)}
    fold_of = {each.question_id: choose_fold(each.entity_id or "") for each in read_questions(held.questions)}
    for fold, row in rows.items():
        among = [each for each in best if fold is None or fold_of[each] != fold]
        fitted = fit(answered, best, among)
        assert row["n"] == len(among)
        assert Gate(threshold=row["threshold"], sure=row["sure"]) == fitted.gate
    assert len({row["threshold"] for row in rows.values()}) > 1, "all folds agree, so this test would show nothing"
    gated = by_condition(answer_benchmark.fn(run, replace(held, gate=gates)))["gated"]
    for question_id, row in gated.items():
        limits, alone = rows[fold_of[question_id]], answered["none"][question_id]
        is_sure = limits["sure"] is not None and alone["answer_logprob"] > limits["sure"]
        assert bool(row["memory_vectors"]) == (best[question_id] > limits["threshold"] and not is_sure)


def test_a_gate_is_part_of_what_its_answers_are_made_from(held: Exam, exam: Exam, gate: Reference):
    assert "gate" not in held.name_inputs() and exam.name_inputs()["gate"] == gate
    assert asdict(replace(exam, gate=None)) == asdict(exam) | {"gate": None}


def test_an_opened_memory_has_the_gates_of_its_encoder(finished: Finished, gate: Reference, tmp_path: Path):
    [row] = read_rows(gate)
    fitted = Gate(threshold=row["threshold"], sure=row["sure"])
    memory = comem.open(finished.place)
    assert memory.gates == {K: fitted} and memory.made_from["gate"]["stage"] == "gate"
    assert comem.open(memory.save(tmp_path / "saved")).gates == memory.gates
    question = load_benchmark_questions("dev")[0]
    with pytest.raises(ValueError, match=r"no gate was fitted for k=3 \(there is one for 2\)"):
        memory.ask(question.image, question.question, language=question.language, k=3, gated=True)
    with pytest.raises(ValueError, match="leave out item_ids and with_memory"):
        memory.ask(question.image, question.question, with_memory=False, gated=True)


def test_an_answer_is_gated_by_nearness_before_the_reader_is_asked_and_by_certainty_after(finished: Finished):
    memory, question = comem.open(finished.place), load_benchmark_questions("dev")[0]
    asked: dict[str, Any] = {"language": question.language, "k": K}

    def ask(gate: Gate | None) -> comem.MemoryAnswer:
        memory.gates = {} if gate is None else {K: gate}
        return memory.ask(question.image, question.question, gated=gate is not None, **asked)

    shown = ask(None)
    [best, *_] = [item.score for item in shown.items]
    assert best is not None and shown.trusted and shown.memory_vectors > 0
    alone = memory.ask(question.image, question.question, language=question.language, with_memory=False)
    assert alone.text != shown.text, "both answers are the same, so this test would show nothing"
    assert ask(Gate(threshold=best - 0.01)) == shown
    far = ask(Gate(threshold=best + 0.01))
    assert (far.text, far.items, far.memory_vectors, far.trusted) == (alone.text, (), 0, False)
    assert far.searched == shown.searched and far.caution == shown.caution  # also of items that are left out
    assert ask(Gate(threshold=best - 0.01, sure=-1e9)) == far  # surer than that it always is
    assert ask(Gate(threshold=best - 0.01, sure=0.0)) == shown  # and surer than certain never
    sampled = Gate(threshold=best - 0.01, sure=-1e9)
    memory.gates = {K: sampled}
    drawn = memory.ask(
        question.image, question.question, gated=True, decoding=comem.Decoding(temperature=1.0, seed=3), **asked
    )
    assert not drawn.trusted and drawn.memory_vectors == 0
