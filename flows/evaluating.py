"""The evaluation of one encoder on one benchmark, for both flows that evaluate: answer, judge, score."""

from tasks.data.ingest import ingest_knowledge
from tasks.engine.store import Reference
from tasks.evaluation.answer import answer_benchmark
from tasks.evaluation.compare import Evaluation
from tasks.evaluation.contamination import find_contamination
from tasks.evaluation.exam import Exam
from tasks.evaluation.judge import judge_predictions
from tasks.evaluation.score import score_predictions
from tasks.memory.encode import encode_memory
from tasks.run import Run
from tasks.training.encoders import NamedEncoder


def evaluate(run: Run, named: NamedEncoder, items: Reference, questions: Reference, shown: Reference) -> Evaluation:
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
