"""Questions about a corpus's own items, set aside by the filters, as a benchmark of that corpus."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from comem_core.evaluation.benchmarks.own import NAME, SPLIT
from comem_core.knowledge.items import Question
from tasks.data.filter import HELD_OUT, read_dropped
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.tables import read_columns, read_questions, write_questions
from tasks.run import Run

HELD_OUT_QUESTIONS = Stage(
    name="held-out",
    version="2",
    table="question",
    explained=Explanation(subject="held-out questions", roles=("questions",), kinds=("benchmark",)),
)


@dataclass(frozen=True, kw_only=True)
class HeldOutKey:
    """Which samples are set aside is decided by the filters; here they become questions."""

    benchmark: str = NAME


@stage_task(name="hold-out")
def hold_out(run: Run, benchmark: Reference, questions: Reference, drafts: Reference, kept: Reference) -> Reference:
    """Return the recipe's benchmark, or, where it is the corpus's own, the questions that the filters set aside."""
    if run.recipe.evaluation.benchmark != NAME:
        return benchmark

    def make(artefact: Partial) -> None:
        found = islice(_held_out(questions, drafts, kept), run.recipe.evaluation.num_questions)
        num_found = write_questions(artefact, "part-00000", found)
        get_stage_logger().info("%d questions about the corpus are set aside for scoring", num_found)

    inputs = {"questions": questions, "drafts": drafts, "kept": kept}
    return run_stage(run, HELD_OUT_QUESTIONS, HeldOutKey(), inputs, make)


def _held_out(questions: Reference, drafts: Reference, kept: Reference) -> Iterator[Question]:
    """The questions whose drafts were set aside, with those answers as gold, in order of sample id."""
    chosen = read_dropped(kept, HELD_OUT)
    asked = read_questions(questions)
    held_out = (row for row in read_columns(drafts, "sample_id", "question_id", "answer") if row["sample_id"] in chosen)
    for row in sorted(held_out, key=lambda row: row["sample_id"]):
        question = asked.of(row["question_id"])
        yield replace(
            question,
            question_id=f"{NAME}/{question.question_id}",  # as a benchmark's it has gold answers: another question
            answers=(row["answer"],),
            benchmark=NAME,
            split=SPLIT,
            question_type="string",
        )
