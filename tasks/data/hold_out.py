"""The held-out questions: samples that the filters set aside, as a benchmark of the corpus itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from comem_core.evaluation.benchmarks.own import NAME, SPLIT
from comem_core.knowledge.items import Question
from tasks.data.filter import HELD_OUT, read_dropped
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
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
    """The benchmark's name. The filters, an input, decide which samples are held out."""

    benchmark: str = NAME


@stage_task(name="hold-out")
def hold_out(run: Run, benchmark: Reference, questions: Reference, drafts: Reference, kept: Reference) -> Reference:
    """Return the recipe's benchmark; make the corpus's own benchmark from the questions that the filters set aside.

    Raises ValueError if they set none aside.
    """
    if run.recipe.evaluation.benchmark != NAME:
        return benchmark

    def make(artefact: Partial) -> None:
        found = islice(_read_held_out(questions, drafts, kept), run.recipe.evaluation.num_questions)
        num_found = write_questions(artefact, "part-00000", found)
        if not num_found:
            raise ValueError(
                f"no question about the corpus can be set aside for scoring: {kept.num_rows} samples were kept, about "
                "fewer than two items. Raise limit or writing.ask_about; the funnel shows why drafts were dropped"
            )
        get_stage_logger().info("%d questions about the corpus are set aside for scoring", num_found)

    inputs = {"questions": questions, "drafts": drafts, "kept": kept}
    return run_stage(run, HELD_OUT_QUESTIONS, HeldOutKey(), inputs, make)


def _read_held_out(questions: Reference, drafts: Reference, kept: Reference) -> Iterator[Question]:
    """Yield the questions whose drafts were set aside, with the drafts' answers as gold, in order of sample id."""
    chosen = read_dropped(kept, HELD_OUT)
    asked = read_questions(questions)
    held_out = (row for row in read_columns(drafts, "sample_id", "question_id", "answer") if row["sample_id"] in chosen)
    for row in sorted(held_out, key=lambda row: row["sample_id"]):
        question = asked.of(row["question_id"])
        yield replace(
            question,
            question_id=f"{NAME}/{question.question_id}",  # with gold answers it is a different question
            answers=(row["answer"],),
            benchmark=NAME,
            split=SPLIT,
            question_type="string",
        )
