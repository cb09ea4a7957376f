"""Compares ways to search by how often each has the right item of a question among the first ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.held_out.searches import find_rank, score_searches
from comem_core.evaluation.scores import find_cluster
from comem_core.recipes.recipe import RetrievalRecipe
from comem_core.recipes.retrieval import name_sides
from comem_core.serving.layout import SEARCHES_STAGE, TRIED_SEARCH_ROLE
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger, show
from tasks.evaluation.page_links import find_page, name_page
from tasks.evaluation.searches.questions import AUGMENTED
from tasks.rows.tables import read_asked_questions, read_columns, read_rows
from tasks.run import Run
from warehouse.page.searches import Searched, describe_searches, render_searches
from warehouse.page.wording import write_interval, write_percent
from warehouse.schemas import check_rows

TRIED_SEARCHES = Stage(name=SEARCHES_STAGE, version="1", table="tried_search")
PAGE = "searches.html"
COMPARED = ("difference", "difference_low", "difference_high", "word")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchesKey:
    """The searches by name, the numbers of first items that count, which of them is shown, and which questions are
    correlated."""

    searches: tuple[str, ...]
    k: tuple[int, ...]
    shown: int
    cluster_by: str


@stage_task(name="compare-searches")
def compare_searches(
    run: Run,
    questions: Reference,
    knowledge: Reference,
    searches: Mapping[str, RetrievalRecipe],
    found: Mapping[str, Reference],
) -> Reference:
    """Compare searches by what they retrieved for the same questions; log which is best, and write a page."""
    shown = min(run.recipe.evaluation.k, *(each.k for each in searches.values()))
    deepest = min(each.k for each in searches.values())
    is_own = questions.stage == AUGMENTED.name
    key = SearchesKey(
        searches=tuple(searches),
        k=tuple(sorted({1, shown, deepest})),
        shown=shown,
        cluster_by="gold_item_id" if is_own else find_benchmark(run.recipe.evaluation.benchmark).cluster_by,
    )
    roles = {name: _name_role(run, place, searches[name]) for place, name in enumerate(searches)}
    inputs = {"questions": questions, "knowledge": knowledge} | {role: found[name] for name, role in roles.items()}

    def make(artefact: Partial) -> None:
        asked = read_asked_questions(questions.folder)
        right = _find_right_items(asked, knowledge, by_picture=is_own)
        rows = list(_make_rows(key, asked, right, searches, found))
        artefact.write_shard("part-00000", check_rows("tried_search", rows))
        searched = Searched(
            corpus=run.recipe.knowledge.corpus,
            questions=questions.stage if is_own else run.recipe.evaluation.benchmark,
            is_augmented=is_own,
            settings={name: vars(search) for name, search in searches.items()},
            rows=rows,
        )
        with artefact.open_file(PAGE) as path:
            path.write_text(render_searches(searched), encoding="utf-8")

    compared = run_stage(run, TRIED_SEARCHES, key, inputs, make, expects=len(searches))
    if get_plan() is None:
        _tell(run, compared)
    return compared


def _name_role(run: Run, place: int, search: RetrievalRecipe) -> str:
    """Return the role of what a search retrieved: `own` for the recipe's, which is not only tried."""
    own = run.recipe.retrieval
    is_own = search == type(search)(**{**vars(own), "k": search.k})
    return f"own-{place}" if is_own else f"{TRIED_SEARCH_ROLE}{place}"


def _find_right_items(asked: Sequence[Row], knowledge: Reference, *, by_picture: bool) -> dict[str, set[str]]:
    """Map each question that can be answered to its right items: the one that it names and, `by_picture`, all that
    show the same picture. Say how many others are left out.

    Raises ValueError if there are none.
    """
    shown = {row["item_id"]: row["image_id"] for row in read_columns(knowledge, "item_id", "image_id")}
    showing: dict[str | None, set[str]] = {}
    for item_id, image_id in shown.items():
        showing.setdefault(image_id, set()).add(item_id)
    named = {row["question_id"]: row["gold_item_id"] for row in asked if row["gold_item_id"] in shown}
    if not named:
        raise ValueError(f"none of {len(asked)} questions is about an item of this corpus")
    if left_out := len(asked) - len(named):
        get_stage_logger().warning(
            "%d of %d questions are left out: the corpus does not have the item that they are about",
            left_out,
            len(asked),
        )
    return {each: showing[shown[item_id]] if by_picture else {item_id} for each, item_id in named.items()}


def _make_rows(
    key: SearchesKey,
    asked: Sequence[Row],
    right: Mapping[str, set[str]],
    searches: Mapping[str, RetrievalRecipe],
    found: Mapping[str, Reference],
) -> Iterator[Row]:
    """Yield the rows of each search, the best one first: of all questions and of each language, at each k."""
    asked, ranks, seconds = [row for row in asked if row["question_id"] in right], {}, {}
    for name in key.searches:
        hits = {row["question_id"]: row for row in read_rows(found[name])}
        ids = [row["question_id"] for row in asked]
        ranks[name] = [find_rank(hits[each]["item_ids"], right[each]) for each in ids]
        seconds[name] = sum(row["seconds"] for row in hits.values()) / len(hits)
    languages, clusters = [row["language"] for row in asked], [find_cluster(row, key.cluster_by) for row in asked]
    for row in score_searches(ranks, languages, clusters, numbers=key.k, shown=key.shown):
        row["num_embedders"] = len(name_sides(searches[row["search"]]))
        row["seconds"] = seconds[row["search"]] if row["language"] is None else None
        yield dict.fromkeys(COMPARED) | row


def _tell(run: Run, compared: Reference) -> None:
    """Log the best searches, and show all of them with their page in the Prefect UI."""
    rows = [row for row in read_rows(compared) if row["language"] is None]
    get_stage_logger().info("%s", "\n  ".join(describe_searches(rows)))
    if len({row["search"] for row in rows}) == 1:
        get_stage_logger().warning(
            "one search was compared with no other; name several with -p among, or install more with `make embedders`"
        )
    page = compared.folder / PAGE
    get_stage_logger().info("page: %s", name_page(run.context, page))
    show(
        create_table_artifact,
        [_make_cells(row) for row in rows],
        key="searches",
        description="How often the right item is found",
    )
    show(
        create_link_artifact,
        find_page(run.context, page),
        key="searches-page",
        description="The page of these searches",
    )


def _make_cells(row: Row) -> Row:
    return {
        "search": row["search"],
        "k": row["k"],
        "found": write_percent(row["found"]),
        "95 % interval": write_interval(row["low"], row["high"]),
        "reciprocal rank": round(row["reciprocal_rank"], 3),
        "ms a question": round(1000 * row["seconds"], 1),
        "n": row["n"],
    }
