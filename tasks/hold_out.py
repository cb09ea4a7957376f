"""Questions about a corpus's own items, set aside by the filters, as a benchmark of that corpus."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comem_core.evaluation.benchmarks.own import NAME, SPLIT
from comem_core.knowledge.items import Question
from tasks.filter import HELD_OUT, dropped_for
from tasks.partial import Partial
from tasks.rows import question_table, read_questions, read_rows
from tasks.run import Run
from tasks.stage import run_stage, stage_logger, stage_task
from tasks.store import Reference


@dataclass(frozen=True, kw_only=True)
class HoldingOut:
    """Which samples are set aside is decided by the filters; here they become questions."""

    benchmark: str = NAME


@stage_task(name="hold-out")
def hold_out(run: Run, benchmark: Reference, questions: Reference, drafts: Reference, kept: Reference) -> Reference:
    """Return the recipe's benchmark, or, where it is the corpus's own, the questions that the filters set aside."""
    if run.recipe.evaluation.benchmark != NAME:
        return benchmark

    def make(artefact: Partial) -> None:
        found = list(_held_out(questions, drafts, kept))[: run.recipe.evaluation.num_questions]
        artefact.write_shard("part-00000", question_table(found))
        stage_logger().info("%d questions about the corpus are set aside for scoring", len(found))

    inputs = {"questions": questions, "drafts": drafts, "kept": kept}
    return run_stage(run, "benchmark", HoldingOut(), inputs, make, table="question", version="2")


def _held_out(questions: Reference, drafts: Reference, kept: Reference) -> Iterator[Question]:
    """The questions whose drafts were set aside, with those answers as gold, in order of sample id."""
    chosen = dropped_for(kept, HELD_OUT)
    asked = {question.question_id: question for question in read_questions(questions)}
    for row in sorted(read_rows(drafts), key=lambda row: row["sample_id"]):
        if row["sample_id"] in chosen:
            question = asked[row["question_id"]]
            yield replace(
                question,
                question_id=f"{NAME}/{question.question_id}",  # as a benchmark's it has gold answers: another question
                answers=(row["answer"],),
                benchmark=NAME,
                split=SPLIT,
                question_type="string",
            )
