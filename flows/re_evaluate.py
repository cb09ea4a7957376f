"""Score the latest encoder again: what has not changed is reused, what has is asked anew, and the page says which."""

from prefect import flow

from comem_core.recipes import recipe_named
from flows.synth_and_train import RecipeName
from tasks.encode import encode_memory
from tasks.ingest import ingest_knowledge
from tasks.questions import collect_benchmark
from tasks.report import write_report
from tasks.retrieve import build_index, retrieve
from tasks.run import open_run
from tasks.score import answer_benchmark, score_predictions
from tasks.store import Reference
from tasks.train import latest_encoder


@flow(name="re-evaluate")
def re_evaluate(recipe: RecipeName = "tiny_cpu", limit: int | None = None) -> Reference:
    """Score the latest encoder of a recipe's backbone under every condition, and write a page.

    Args:
        recipe: whose backbone, knowledge and benchmark; a name from `comem_core.recipes`.
        limit: at most so many benchmark questions.
    """
    with open_run("re-evaluate", recipe_named(recipe, limit=limit)) as run:
        encoder = latest_encoder(run)
        knowledge = ingest_knowledge(run)
        bank = encode_memory(run, knowledge, encoder)

        index = build_index(run, knowledge)
        benchmark = collect_benchmark(run)
        shown = retrieve(run, index, benchmark)
        predictions = answer_benchmark(run, knowledge, encoder, bank, benchmark, shown)
        scores = score_predictions(run, benchmark, predictions)
        return write_report(run, knowledge, benchmark, scores)
