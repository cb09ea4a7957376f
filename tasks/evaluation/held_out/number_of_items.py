"""Choosing how many items are shown, on answers to questions that are not scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.held_out.number_of_items import choose_number
from comem_core.evaluation.statistics import score_interval
from comem_core.recipes.conditions import find_condition_to_try
from comem_core.recipes.recipe import EvaluationRecipe
from comem_core.serving.layout import TRIED_K_STAGE
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.evaluation.exam import Exam
from tasks.evaluation.held_out.trial import Trial, make_trial, map_clusters
from tasks.rows.tables import read_rows
from tasks.run import Run
from warehouse.schemas import check_rows

TRIED_K = Stage(name=TRIED_K_STAGE, version="1", table="tried_k", explained=Explanation(subject="number of items"))


@dataclass(frozen=True, kw_only=True)
class TriedKey:
    """What decides the choice besides the answers: which numbers were tried, and what fewer items may cost."""

    condition: str
    k: tuple[int, ...]
    max_loss: float


def find_trial_of_k(run: Run) -> Trial | None:
    """Return the trial on which a run's number of items is chosen, or None if its recipe gives the number."""
    recipe = run.recipe.evaluation
    if not recipe.held_out.k_among:
        return None
    return make_trial(run, [find_condition_to_try(recipe.conditions)], k=sorted(set(recipe.held_out.k_among)))


def can_try(run: Run, tried: Reference, scored: Reference) -> bool:
    """Tell whether there are questions to try numbers of items on, and others to score; say so if not."""
    recipe, is_planned = run.recipe.evaluation, tried.planned is not None or scored.planned is not None
    if is_planned or (tried.num_rows and scored.num_rows):
        return True
    get_stage_logger().warning(
        "no number of items is chosen: %d questions would be tried and %d scored, because all that share their %s stay "
        "together. All are asked with k=%d, which the recipe names",
        *(tried.num_rows, scored.num_rows, find_benchmark(recipe.benchmark).cluster_by, recipe.k),
    )
    return False


@stage_task(name="choose-k")
def choose_k(run: Run, trial: Trial, held: Exam, predictions: Reference) -> Reference:
    """Choose among the numbers of items of a trial, by its answers."""
    asked = trial.run.recipe.evaluation
    [condition] = asked.conditions
    key = TriedKey(condition=condition, k=asked.all_k, max_loss=asked.held_out.max_loss)
    inputs = {"encoder": held.encoder, "questions": held.questions, "predictions": predictions}

    def make(artefact: Partial) -> None:
        rows = list(_mark(asked, key, held, list(read_rows(predictions))))
        artefact.write_shard("part-00000", check_rows("tried_k", rows))
        get_stage_logger().info("%s", describe_choice(rows))

    return run_stage(run, TRIED_K, key, inputs, make, expects=len(key.k))


def with_chosen_k(run: Run, tried: Reference) -> Run:
    """Return the run with the number of items that was chosen; a plan takes the most, which costs the most."""
    recipe = run.recipe.evaluation
    if tried.planned is not None:
        chosen = max(recipe.held_out.k_among)
    else:
        [chosen] = [row["k"] for row in read_rows(tried) if row["is_chosen"]]
    return run.with_recipe(evaluation=replace(recipe, k=chosen))


def describe_choice(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which number of items was chosen, and how each did on the held-out questions."""
    [chosen] = [row for row in rows if row["is_chosen"]]
    tried = ", ".join(f"{row['k']}: {100 * row['score']:.1f} %" for row in rows)
    noun = "item is" if chosen["k"] == 1 else "items are"
    return (
        f"k={chosen['k']}: {chosen['k']} {noun} shown, the fewest that lose next to nothing; {chosen['n']} held-out "
        f"questions right under {chosen['condition']} by number of items: {tried}"
    )


def _mark(recipe: EvaluationRecipe, key: TriedKey, held: Exam, answered: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of items that was tried, with its mean mark and the interval of that."""
    clusters = map_clusters(held.questions, find_benchmark(recipe.benchmark).cluster_by)
    marks = {(row["k"], row["question_id"]): row["correct"] for row in answered}
    found = {k: score_interval([marks[k, each] for each in clusters], list(clusters.values())) for k in key.k}
    chosen = choose_number({k: each.value for k, each in found.items()}, max_loss=key.max_loss)
    for k, each in found.items():
        row = {"condition": key.condition, "k": k, "n": len(clusters), "score": each.value}
        yield row | {"low": each.low, "high": each.high, "is_chosen": k == chosen}
