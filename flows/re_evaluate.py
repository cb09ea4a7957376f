"""Evaluate encoders on benchmarks: what was answered before is not asked again; what moved since is told, and why."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.evaluating import evaluate
from flows.options import (
    BenchmarksOption,
    ConditionsOption,
    Count,
    JudgeOption,
    KnowledgeOption,
    Names,
    Points,
    ReaderOption,
    RecipeName,
)
from flows.recipes import recipes_to_ask
from tasks.data.benchmarks import collect_benchmark
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.retrieve import retrieve
from tasks.evaluation.compare import compare_with_last
from tasks.evaluation.drift import finish_evaluations, report_evaluations
from tasks.evaluation.encoder_pairs import compare_encoders
from tasks.run import open_run
from tasks.training.encoders import LATEST, find_encoders, with_encoder
from tasks.training.transfer import with_transfer


@flow(name="re-evaluate")
def re_evaluate(
    recipe: RecipeName = "tiny_cpu",
    encoders: Names | None = None,
    benchmarks: BenchmarksOption | None = None,
    conditions: ConditionsOption | None = None,
    knowledge: KnowledgeOption | None = None,
    judge: JudgeOption | None = None,
    reader: ReaderOption | None = None,
    limit: Count | None = None,
    min_points: Points = 0.0,
    plan: bool = False,
) -> State | None:
    """Score encoders on benchmarks under every condition, and say what is better or worse than the last time, and why.

    A run in which a score moved ends as `Drifted` and raises the event `comem.evaluation.drifted`.

    Args:
        recipe: whose backbone, knowledge and prompts; a name from `comem_core.recipes`.
        encoders: `latest` (the default), `all`, or fingerprints, folders or names of encoders that ship.
        benchmarks: names of benchmarks (docs/benchmarks.md), or the fields that also say with which prompts they are
            asked, and what becomes of questions without an answer; without it, the recipe's.
        conditions: names of conditions, or the fields that also say how many items they show (`k`) and of which other
            corpus; without it, the recipe's.
        knowledge: another corpus than the recipe's, as in synth-and-train.
        judge: a language model that marks every answer too, as in synth-and-train.
        reader: a text-only model that answers in the backbone's place, as in synth-and-train; a series of its own.
        limit: at most so many questions of each benchmark.
        min_points: what a score must move by to be called drift, in points, besides being more than chance.
        plan: make nothing; show what would run and why.
    """
    recipes = recipes_to_ask(
        recipe,
        benchmarks=benchmarks,
        conditions=conditions,
        knowledge=knowledge,
        judge=judge,
        reader=reader,
        limit=limit,
    )
    names = list(recipes)
    with open_run("re-evaluate", recipes[names[0]], plan=plan) as run:
        asking = {name: run.with_recipe(evaluation=each.evaluation) for name, each in recipes.items()}
        questions = {name: collect_benchmark(each) for name, each in asking.items()}
        named = [with_transfer(run, each) for each in find_encoders(run, [LATEST] if encoders is None else encoders)]

        items = ingest_knowledge(run)
        index = build_index(run, items)
        shown = {name: retrieve(run, index, asked) for name, asked in questions.items()}
        evaluations = [
            evaluate(with_encoder(asking[name], each.encoder), each, items, questions[name], shown[name])
            for each in named
            for name in names
        ]
        compared = [compare_with_last(run, each) for each in evaluations]
        pairs = compare_encoders(run, evaluations)
        report_evaluations(run, compared, pairs)
        return finish_evaluations(run, compared, min_points=min_points)
