"""Fitting the gate of the condition `gated`, on answers to questions that it does not decide about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import find_condition
from comem_core.evaluation.held_out.gate import NUM_FOLDS, HeldOutAnswers, choose_fold, find_best_score, fit_gate
from comem_core.evaluation.scores import Row
from comem_core.recipes.recipe import EvaluationRecipe
from comem_core.serving.layout import GATE_STAGE
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.evaluation.exam import Exam
from tasks.evaluation.held_out.choosing import LOGPROB
from tasks.evaluation.held_out.trial import Trial, make_trial, map_clusters
from tasks.rows.tables import read_rows
from tasks.run import Run
from warehouse.schemas import check_rows

GATE = Stage(name=GATE_STAGE, version="1", table="gate", explained=Explanation(subject="gate", extent=("k",)))


@dataclass(frozen=True, kw_only=True)
class GateKey:
    """What decides gates besides the answers that they are fitted on: at which k, in folds or not, and at what cost."""

    k: tuple[int, ...]
    has_folds: bool
    max_loss: float


def find_trial_of_gate(run: Run) -> Trial | None:
    """Return the trial that the gate of a run's recipe needs, or None if the recipe asks no condition with a gate."""
    choosing = [each.chooses for each in map(find_condition, run.recipe.evaluation.conditions) if each.chooses]
    if not choosing:
        return None
    return make_trial(run, tuple(dict.fromkeys(name for names in choosing for name in names)))


@stage_task(name="fit-gate")
def fit_gates(run: Run, trial: Trial, held: Exam, predictions: Reference) -> Reference:
    """Fit a gate for each k on the answers of a trial; without questions apart, also one for each fold of them."""
    recipe = run.recipe.evaluation
    key = GateKey(k=recipe.all_k, has_folds=not trial.is_apart, max_loss=recipe.held_out.max_loss)
    inputs = {"encoder": held.encoder, "questions": held.questions, "retrieved": held.retrieved}

    def make(artefact: Partial) -> None:
        rows = list(_fit(recipe, key, held, list(read_rows(predictions))))
        artefact.write_shard("part-00000", check_rows("gate", rows))
        for row in rows:
            if row["fold"] is None:
                get_stage_logger().info("%s", describe_gate(row))

    return run_stage(run, GATE, key, inputs | {"predictions": predictions}, make)


def describe_gate(row: Mapping[str, Any]) -> str:
    """Say what a gate does, and how it did on the questions that it was fitted on."""
    shares = {name: f"{100 * row[name]:.1f}" for name in ("none", "memory", "gated", "share_gated")}
    sure = "" if row["sure"] is None else f" and the reader's own answer has at most {row['sure']:.3f} nats a token"
    return (
        f"gate at k={row['k']}: memory is used where the best item's score is above {row['threshold']:.3f}{sure}; on "
        f"{row['n']} held-out questions {shares['none']} % right without memory, {shares['memory']} % with it, "
        f"{shares['gated']} % gated ({shares['share_gated']} % of them answered without memory)"
    )


def _fit(recipe: EvaluationRecipe, key: GateKey, held: Exam, answered: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all gates: for each k one that was fitted on all questions, then those of folds."""
    clusters = map_clusters(held.questions, find_benchmark(recipe.benchmark).cluster_by)
    fold_of = {question_id: choose_fold(cluster) for question_id, cluster in clusters.items()}
    best = {row["question_id"]: find_best_score(row["scores"]) for row in read_rows(held.retrieved)}
    rows = {(row["condition"], row["k"], row["question_id"]): row for row in answered}
    for k in key.k:
        for fold in (None, *(range(NUM_FOLDS) if key.has_folds else ())):
            among = [each for each in fold_of if fold is None or fold_of[each] != fold]
            told = [rows["none", 0, each].get(LOGPROB) for each in among]
            logprobs = [each for each in told if each is not None]
            trial = HeldOutAnswers(
                best_N=[best[each] for each in among],
                none_N=[rows["none", 0, each]["correct"] for each in among],
                memory_N=[rows["memory", k, each]["correct"] for each in among],
                logprob_N=logprobs if len(logprobs) == len(told) else None,
            )
            fitted = asdict(fit_gate(trial, max_loss=key.max_loss))
            yield {"k": k, "fold": fold} | fitted.pop("gate") | fitted
