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
from tasks.evaluation.gate import find_trial, fit_gates
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
    exam = replace(exam, gate=_fit_gate(run, index, exam))
    predictions = answer_benchmark(run, exam)
    contamination = find_contamination(run, questions, items, named.encoder)
    judgements = judge_predictions(run, questions, predictions)
    scores = score_predictions(run, questions, predictions, contamination, judgements)
    return Evaluation(
        name=named.name,
        benchmark=run.recipe.evaluation.benchmark,
        encoder=named.encoder,
        bank=bank,
        questions=questions,
        predictions=predictions,
        scores=scores,
    )


def _fit_gate(run: Run, index: Reference, exam: Exam) -> Reference | None:
    """Fit what decides the condition `gated`, on questions that are not scored where the benchmark has such a part."""
    if (trial := find_trial(run)) is None:
        return None
    held = replace(exam, foreign=None, foreign_bank=None)
    if trial.is_apart:
        questions = collect_benchmark(trial.run)
        held = replace(held, questions=questions, retrieved=retrieve(trial.run, index, questions))
    return fit_gates(run, trial, held, answer_benchmark(trial.run, held, is_trial=True))
