"""A trial: the run that asks held-out questions, on whose answers something about the evaluation is decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.held_out.gate import NUM_FOLDS, choose_fold
from comem_core.evaluation.scores import find_cluster
from comem_core.knowledge.items import Question
from tasks.data.benchmarks import name_part
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.rows.tables import read_asked_questions, read_questions, write_questions
from tasks.run import Run

SET_ASIDE = Stage(
    name="set-aside",
    version="1",
    table="question",
    explained=Explanation(subject="questions set aside", roles=("questions",), kinds=("purpose",)),
)
HELD_OUT_FOLD = 0
"""Which of the folds (`NUM_FOLDS`) is tried on, where a benchmark has no part for it."""

Purpose = Literal["tried", "scored"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The run that asks questions which are not scored, under no more conditions than something is decided by.

    `is_apart` tells whether they are another part of the benchmark than the one that is scored.
    """

    run: Run
    is_apart: bool


@dataclass(frozen=True, kw_only=True)
class SetAsideKey:
    """Which share of the questions: those that something is tried on, or the others, which are scored."""

    purpose: Purpose
    cluster_by: str


def make_trial(run: Run, conditions: Sequence[str], *, k: Sequence[int] | None = None) -> Trial:
    """Return a run's trial under these conditions, with these numbers of items (None: the recipe's)."""
    recipe = run.recipe.evaluation
    part = find_benchmark(recipe.benchmark).tuning_part
    asked = replace(recipe, conditions=tuple(conditions), judge=None)
    is_apart = part is not None and part != name_part(recipe)
    if is_apart:
        asked = replace(asked, part=part, num_questions=recipe.held_out.num_questions)
    if k is not None:
        asked = replace(asked, k=k[0], more_k=tuple(k[1:]))
    return Trial(run=run.with_recipe(evaluation=asked), is_apart=is_apart)


@stage_task(name="set-aside")
def set_aside(run: Run, questions: Reference, *, purpose: Purpose) -> Reference:
    """Return a fifth of the questions, to try something on, or the other four. All of a cluster are on one side, so one
    of them may be empty."""
    cluster_by = find_benchmark(run.recipe.evaluation.benchmark).cluster_by
    share = 1 / NUM_FOLDS if purpose == "tried" else 1 - 1 / NUM_FOLDS

    def make(artefact: Partial) -> None:
        write_questions(artefact, "part-00000", _read_side(questions, cluster_by, purpose))

    key, expected = SetAsideKey(purpose=purpose, cluster_by=cluster_by), round(share * questions.num_rows)
    return run_stage(run, SET_ASIDE, key, {"all": questions}, make, expects=expected)


def map_clusters(questions: Reference, cluster_by: str) -> dict[str, str]:
    """Map each question's id to its cluster: the questions that are correlated, and so stay together."""
    return {row["question_id"]: find_cluster(row, cluster_by) for row in read_asked_questions(questions.folder)}


def _read_side(questions: Reference, cluster_by: str, purpose: Purpose) -> Iterator[Question]:
    stored = read_questions(questions)
    for question_id, cluster in map_clusters(questions, cluster_by).items():
        if (choose_fold(cluster) == HELD_OUT_FOLD) == (purpose == "tried"):
            yield stored.of(question_id)
