"""Compare embedders and fusions on a corpus: how often each finds the item that a question is about, by language."""

from prefect import flow

from flows.options import BackboneOption, Count, Filled, KnowledgeOption, RecipeOption, SearchesOption
from flows.recipes import make_search_trial
from tasks.data.ingest import ingest_knowledge
from tasks.engine.store import Reference
from tasks.evaluation.ending import end_with_explanation
from tasks.evaluation.searches.compare import compare_searches
from tasks.evaluation.searches.questions import collect_questions
from tasks.evaluation.searches.retrieving import retrieve_by_each
from tasks.run import open_run


@flow(name="compare-retrieval")
@end_with_explanation
def compare_retrieval(
    recipe: RecipeOption = "tiny_cpu",
    backbone: BackboneOption | None = None,
    knowledge: KnowledgeOption | None = None,
    questions: Filled | None = None,
    among: SearchesOption | None = None,
    limit: Count = 400,
    plan: bool = False,
    on_cpu: bool = False,
) -> Reference:
    """Find the items of a corpus in several ways for questions whose right item is known, and say which way is best.

    Args:
        recipe: gives backbone, knowledge and the search that is compared with others, as in synth-and-train.
        backbone: the VLM in place of the recipe's, as in synth-and-train.
        knowledge: a corpus in place of the recipe's, as in synth-and-train.
        questions: the name of a benchmark whose right items are in the corpus; `pictures`: the corpus's own pictures,
            cropped, turned and lit otherwise; or `asked`: the same with questions that the VLM asks about them. By
            default the recipe's benchmark, and `pictures` for another corpus.
        among: the searches to compare: embedders (docs/data.md), or fields of retrieval such as `by`, `embedder`,
            `text_embedder` and `text_weight`. By default all that is installed here, alone and together.
        limit: the maximum number of questions.
        plan: make nothing; show what would run and why.
        on_cpu: run a model that is made for GPUs on the CPU all the same.
    """
    trial = make_search_trial(
        recipe, backbone=backbone, knowledge=knowledge, questions=questions, among=among, limit=limit
    )
    with open_run(
        "compare-retrieval", trial.recipe, needs_generator=trial.is_asked, plan=plan, stated=recipe, on_cpu=on_cpu
    ) as run:
        items = ingest_knowledge(run)
        asked = collect_questions(run, items, trial.questions)
        found = retrieve_by_each(run, items, asked, trial.searches)
        return compare_searches(run, asked, items, trial.searches, found)
