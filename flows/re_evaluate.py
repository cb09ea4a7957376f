"""Evaluate encoders on benchmarks: what was answered before is not asked again; what moved since is told, and why."""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from comem_core.recipes import recipe_named, with_evaluation, with_judge, with_reader
from comem_core.recipes.recipe import ReaderRecipe
from flows.synth_and_train import RecipeName
from tasks.answer import answer_benchmark
from tasks.contamination import find_contamination
from tasks.drift import report_evaluations, settle
from tasks.encode import encode_memory
from tasks.encoder_pairs import compare_encoders
from tasks.encoders import NamedEncoder, find_encoders, with_encoder
from tasks.evaluations import Evaluation, compare_with_last
from tasks.exam import Exam
from tasks.ingest import ingest_knowledge
from tasks.judge import judge_predictions
from tasks.questions import collect_benchmark
from tasks.retrieve import build_index, retrieve
from tasks.run import Run, open_run
from tasks.score import score_predictions
from tasks.store import Reference
from tasks.transfer import with_transfer


@flow(name="re-evaluate")
def re_evaluate(
    recipe: RecipeName = "tiny_cpu",
    encoders: list[str] | None = None,
    benchmarks: list[str] | None = None,
    conditions: list[str] | None = None,
    k: list[int] | None = None,
    knowledge: str | None = None,
    foreign: str | None = None,
    prompts: str | None = None,
    unanswered: Literal["left_out", "wrong"] | None = None,
    judge: str | None = None,
    judge_unparsable: Literal["left_out", "wrong"] | None = None,
    reader: str | ReaderRecipe | None = None,
    limit: int | None = None,
    min_points: float = 0.0,
    plan: bool = False,
) -> State | None:
    """Score encoders on benchmarks under every condition, and say what is better or worse than the last time, and why.

    A run in which a score moved ends as `Drifted` and raises the event `comem.evaluation.drifted`.

    Args:
        recipe: whose backbone, knowledge and prompts; a name from `comem_core.recipes`.
        encoders: `latest` (the default), `all`, or fingerprints, folders or names of encoders that ship.
        benchmarks: names of benchmarks (docs/benchmarks.md); without it, the recipe's.
        conditions: names of conditions; without it, the recipe's.
        k: numbers of items to show, such as [3, 10, 50]; without it, the recipe's.
        knowledge: another corpus than the recipe's, as in synth-and-train.
        foreign: the corpus whose items the condition `foreign` shows.
        prompts: the prompt set that questions are asked with; without it, the recipe's.
        unanswered: whether questions without an answer are left out of a score, or wrong.
        judge: a language model that marks every answer too: `served:<model>` at COMEM_JUDGE_URL, or `backbone`.
        judge_unparsable: whether replies of the judge that are no verdict are left out of its score, or wrong.
        reader: a text-only model that answers in the backbone's place, as in synth-and-train; a series of its own.
        limit: at most so many questions of each benchmark.
        min_points: what a score must move by to be called drift, in points, besides being more than chance.
        plan: make nothing; show what would run and why.
    """
    judged = with_judge(recipe_named(recipe, limit=limit), judge, unparsable=judge_unparsable)
    own = with_reader(judged, reader)
    names = benchmarks or [own.evaluation.benchmark]
    recipes = {
        name: with_evaluation(
            own,
            name,
            conditions=conditions,
            k=k,
            unanswered=unanswered,
            knowledge=knowledge,
            foreign=foreign,
            prompts=prompts,
        )
        for name in names
    }
    with open_run("re-evaluate", recipes[names[0]], plan=plan) as run:
        asking = {name: run.with_recipe(evaluation=each.evaluation) for name, each in recipes.items()}
        questions = {name: collect_benchmark(each) for name, each in asking.items()}
        named = [with_transfer(run, each) for each in find_encoders(run, encoders or ["latest"])]

        items = ingest_knowledge(run)
        index = build_index(run, items)
        shown = {name: retrieve(run, index, asked) for name, asked in questions.items()}
        evaluations = [
            evaluate(asking[name], each, items, questions[name], shown[name]) for each in named for name in names
        ]
        compared = [compare_with_last(run, each) for each in evaluations]
        pairs = compare_encoders(run, evaluations)
        report_evaluations(run, compared, pairs)
        return settle(run, compared, min_points=min_points)


def evaluate(run: Run, named: NamedEncoder, items: Reference, questions: Reference, shown: Reference) -> Evaluation:
    """One encoder on one benchmark: a bank of its own, answers, scores."""
    run = with_encoder(run, named.encoder)
    bank = encode_memory(run, items, named.encoder)
    foreign_items, foreign_bank = None, None
    if foreign := run.foreign_knowledge():
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
        questions=questions,
        predictions=predictions,
        scores=scores,
    )
