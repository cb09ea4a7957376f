"""Evaluate encoders on benchmarks: reuse earlier answers, and explain which scores moved since last time, and why."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.evaluating import evaluate
from flows.options import (
    BackboneOption,
    BenchmarksOption,
    ConditionsOption,
    Count,
    JudgeOption,
    KnowledgeOption,
    Names,
    Points,
    ReaderOption,
    RecipeOption,
)
from flows.recipes import recipes_to_ask
from tasks.data.benchmarks import collect_benchmark
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.retrieve import retrieve
from tasks.evaluation.compare import compare_with_last
from tasks.evaluation.drift import finish_evaluations, report_evaluations
from tasks.evaluation.encoder_pairs import compare_encoders
from tasks.evaluation.ending import end_with_explanation
from tasks.run import open_run
from tasks.training.encoders import LATEST, find_encoders, with_encoder
from tasks.training.transfer import with_transfer


@flow(name="re-evaluate")
@end_with_explanation
def re_evaluate(
    recipe: RecipeOption = "tiny_cpu",
    backbone: BackboneOption | None = None,
    encoders: Names | None = None,
    benchmarks: BenchmarksOption | None = None,
    conditions: ConditionsOption | None = None,
    knowledge: KnowledgeOption | None = None,
    judge: JudgeOption | None = None,
    reader: ReaderOption | None = None,
    limit: Count | None = None,
    min_points: Points = 0.0,
    plan: bool = False,
    on_cpu: bool = False,
) -> State | None:
    """Score encoders on benchmarks under every condition, and report what is better or worse than last time, and why.

    A run in which a score moved ends as `Drifted` and raises the event `comem.evaluation.drifted`.

    Args:
        recipe: gives backbone, knowledge and prompts, as in synth-and-train.
        backbone: the VLM in place of the recipe's, as in synth-and-train.
        encoders: `latest` (the default), `all`, or fingerprints, folders or names of shipped encoders.
        benchmarks: names of benchmarks (docs/benchmarks.md), or fields that also set the prompts and how questions
            without an answer count; by default the recipe's.
        conditions: names of conditions, or fields that also set the numbers of items (`k`, or `k_among` to let
            held-out questions choose) and the foreign corpus; by default the recipe's.
        knowledge: a corpus in place of the recipe's, as in synth-and-train.
        judge: a language model that also marks every answer, as in synth-and-train.
        reader: a text-only model that answers in the backbone's place, or `vllm:<address>`, as in synth-and-train; it
            has its own series.
        limit: the maximum number of questions of each benchmark.
        min_points: the points by which a score must move, and by more than chance, to be called drift.
        plan: make nothing; show what would run and why.
        on_cpu: run a model that is made for GPUs on the CPU all the same.
    """
    recipes = recipes_to_ask(
        recipe,
        backbone=backbone,
        encoders=encoders,
        benchmarks=benchmarks,
        conditions=conditions,
        knowledge=knowledge,
        judge=judge,
        reader=reader,
        limit=limit,
    )
    names = list(recipes)
    with open_run("re-evaluate", recipes[names[0]], plan=plan, stated=recipe, on_cpu=on_cpu) as run:
        found = find_encoders(run, [LATEST] if encoders is None else encoders)
        asking = {name: run.with_recipe(evaluation=each.evaluation) for name, each in recipes.items()}
        questions = {name: collect_benchmark(each) for name, each in asking.items()}
        named = [with_transfer(run, each) for each in found]

        items = ingest_knowledge(run)
        index = build_index(run, items)
        shown = {name: retrieve(run, index, asked) for name, asked in questions.items()}
        evaluations = [
            evaluate(with_encoder(asking[name], each.encoder), each, items, index, questions[name], shown[name])
            for each in named
            for name in names
        ]
        compared = [compare_with_last(run, each) for each in evaluations]
        pairs = compare_encoders(run, evaluations)
        report_evaluations(run, compared, pairs)
        return finish_evaluations(run, compared, min_points=min_points)
