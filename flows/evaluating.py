"""The evaluation of one encoder on one benchmark, for both flows that evaluate: answer, judge, score."""

from dataclasses import replace

from tasks.data.benchmarks import collect_benchmark
from tasks.data.ingest import ingest_knowledge
from tasks.data.retrieve import retrieve
from tasks.engine.store import Reference
from tasks.evaluation.answer import answer_benchmark
from tasks.evaluation.compare import Evaluation
from tasks.evaluation.contamination import find_contamination
from tasks.evaluation.exam import Exam
from tasks.evaluation.held_out.gate import find_trial_of_gate, fit_gates
from tasks.evaluation.held_out.number_of_items import can_try, choose_k, find_trial_of_k, with_chosen_k
from tasks.evaluation.held_out.trial import Trial, set_aside
from tasks.evaluation.judge import judge_predictions
from tasks.evaluation.score import score_predictions
from tasks.memory.encode import encode_memory
from tasks.run import Run
from tasks.training.encoders import NamedEncoder


def evaluate(
    run: Run, named: NamedEncoder, items: Reference, index: Reference, questions: Reference, shown: Reference
) -> Evaluation:
    """Evaluate one encoder on the benchmark of the run's recipe: make its bank, its answers and its scores."""
    bank = encode_memory(run, items, named.encoder)
    foreign_items, foreign_bank = None, None
    if foreign := run.find_foreign_knowledge():
        foreign_items = ingest_knowledge(foreign)
        foreign_bank = encode_memory(foreign, foreign_items, named.encoder)

    exam = Exam(
        knowledge=items,
        encoder=named.encoder,
        bank=bank,
        questions=questions,
        retrieved=shown,
        transfer=named.transfer,
        foreign=foreign_items,
        foreign_bank=foreign_bank,
    )
    run, exam = _choose_k(run, index, exam)
    exam = replace(exam, gate=_fit_gate(run, index, exam))
    predictions = answer_benchmark(run, exam)
    contamination = find_contamination(run, exam.questions, items, named.encoder)
    judgements = judge_predictions(run, exam.questions, predictions)
    scores = score_predictions(run, exam.questions, predictions, contamination, judgements)
    return Evaluation(
        name=named.name,
        benchmark=run.recipe.evaluation.benchmark,
        encoder=named.encoder,
        bank=bank,
        questions=exam.questions,
        predictions=predictions,
        scores=scores,
    )


def _choose_k(run: Run, index: Reference, exam: Exam) -> tuple[Run, Exam]:
    """Return the run with the number of items that did best on held-out questions, and what it asks; both unchanged
    where the recipe gives the number."""
    if (trial := find_trial_of_k(run)) is None:
        return run, exam
    held = _hold(trial, index, exam)
    if not trial.is_apart:
        sides = [set_aside(run, exam.questions, purpose=purpose) for purpose in ("tried", "scored")]
        if not can_try(run, *sides):
            return run, exam
        held, exam = (replace(each, questions=side) for each, side in zip((held, exam), sides, strict=True))
    tried = choose_k(run, trial, held, answer_benchmark(trial.run, held))
    return with_chosen_k(run, tried), replace(exam, tried_k=tried)


def _fit_gate(run: Run, index: Reference, exam: Exam) -> Reference | None:
    """Fit what decides the condition `gated`, on questions that are not scored where the benchmark has such a part."""
    if (trial := find_trial_of_gate(run)) is None:
        return None
    held = _hold(trial, index, exam)
    return fit_gates(run, trial, held, answer_benchmark(trial.run, held, is_trial=True))


def _hold(trial: Trial, index: Reference, exam: Exam) -> Exam:
    """Return the exam of a trial: its own questions where the benchmark has a part for it, else those of the exam."""
    held = replace(exam, foreign=None, foreign_bank=None, tried_k=None)
    if not trial.is_apart:
        return held
    questions = collect_benchmark(trial.run)
    return replace(held, questions=questions, retrieved=retrieve(trial.run, index, questions))
