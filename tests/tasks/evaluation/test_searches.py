"""Ways to search, compared on real flags: which is best, by how much, on which questions, and what is opened after."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

import comem_core as comem
from comem_core.backbone.images import decode
from comem_core.knowledge.items import Question
from comem_core.recipes.recipe import RetrievalRecipe
from comem_core.recipes.searches import make_trial, vary_search
from comem_core.worlds.countries.world import load_knowledge_items
from tasks.data.benchmarks import BENCHMARK
from tasks.data.index import build_index
from tasks.data.ingest import KNOWLEDGE
from tasks.data.retrieve import retrieve
from tasks.engine.context import Context, ParameterRefused
from tasks.engine.plan import start_planning
from tasks.engine.store import Reference, Store
from tasks.evaluation.searches.compare import PAGE, compare_searches
from tasks.evaluation.searches.questions import augment_pictures, augment_questions, collect_questions
from tasks.evaluation.searches.retrieving import retrieve_by_each
from tasks.rows.tables import make_item_table, make_question_table, read_questions, read_rows
from tasks.run import Run
from tests.tasks.evaluation.finished_store import ITEMS, QUESTIONS, Finished, finish_run, make_run, put

pytestmark = pytest.mark.usefixtures("small_ray")
MANY = load_knowledge_items()[:300]  # sixty countries in five languages


def make_asking(context: Context, num_questions: int) -> Run:
    run = make_run(context)
    return run.with_recipe(evaluation=replace(run.recipe.evaluation, num_questions=num_questions))


def make_searches(run: Run, *grids: tuple[int, int]) -> dict[str, RetrievalRecipe]:
    own = run.recipe.retrieval
    searches = [own, *(vary_search(own, grid=grid) for grid in grids)]
    return make_trial(run.recipe, "pictures", searches, num_questions=40).searches


def compare(
    run: Run, knowledge: Reference, questions: Reference, searches: dict[str, RetrievalRecipe]
) -> tuple[Reference, dict[str, Reference]]:
    asking = {name: run.with_recipe(retrieval=search) for name, search in searches.items()}
    found = {name: retrieve.fn(each, build_index.fn(each, knowledge), questions) for name, each in asking.items()}
    return compare_searches.fn(run, questions, knowledge, searches, found), found


def count_found(retrieved: Reference, questions: Sequence[Question], k: int) -> int:
    right = {question.question_id: question.gold_item_id for question in questions}
    return sum(right[row["question_id"]] in row["item_ids"][:k] for row in read_rows(retrieved))


def test_searches_are_ordered_by_how_often_the_right_item_is_among_those_that_are_shown(context: Context) -> None:
    run = make_asking(context, 40)
    knowledge = put(run, KNOWLEDGE, "many", make_item_table(MANY))
    questions = augment_pictures.fn(run, knowledge)
    searches = make_searches(run, (1, 1))
    compared, found = compare(run, knowledge, questions, searches)
    rows, asked = list(read_rows(compared)), list(read_questions(questions))
    assert {row["k"] for row in rows} == {1, 3, 10}
    for row in rows:
        part = [each for each in asked if row["language"] in (None, each.language)]
        assert row["n"] == len(part)
        assert row["found"] == pytest.approx(count_found(found[row["search"]], part, row["k"]) / len(part))
    overall = [row for row in rows if row["language"] is None and row["is_shown"]]
    assert [row["place"] for row in overall] == [1, 2] and {row["k"] for row in overall} == {3}
    assert overall[0]["found"] >= overall[1]["found"]
    assert overall[0]["word"] is None and overall[0]["difference"] is None
    assert overall[1]["difference"] == pytest.approx(overall[1]["found"] - overall[0]["found"])
    assert overall[1]["difference_low"] <= overall[1]["difference"] <= overall[1]["difference_high"]
    page = (compared.folder / PAGE).read_text(encoding="utf-8")
    assert all(name in page for name in searches) and "grid = [" in page


def test_each_picture_is_asked_about_once_and_seen_otherwise(context: Context) -> None:
    run = make_asking(context, 8)
    knowledge = put(run, KNOWLEDGE, "items", make_item_table(ITEMS))
    asked = list(read_questions(augment_pictures.fn(run, knowledge)))
    items = {item.item_id: item for item in ITEMS}
    gold = [items[each.gold_item_id or ""] for each in asked]
    assert len(asked) == 8 == len({item.image_id for item in gold})
    for question, item in zip(asked, gold, strict=True):
        assert (question.question, question.language) == ("", item.language)
        assert question.image_id != item.image_id and decode(question.image).size != decode(item.picture).size


def test_questions_of_the_vlm_keep_their_words_and_get_other_pictures(context: Context) -> None:
    run = make_run(context)
    asked = put(run, BENCHMARK, "asked", make_question_table(QUESTIONS))
    augmented = list(read_questions(augment_questions.fn(run, asked)))
    assert [each.question for each in augmented] == [each.question for each in QUESTIONS]
    assert [each.gold_item_id for each in augmented] == [each.gold_item_id for each in QUESTIONS]
    assert not {each.image_id for each in augmented} & {each.image_id for each in QUESTIONS}
    assert not {each.question_id for each in augmented} & {each.question_id for each in QUESTIONS}


def test_questions_whose_item_is_not_in_the_corpus_are_left_out(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(context)
    knowledge = put(run, KNOWLEDGE, "items", make_item_table(ITEMS))
    known = [each for each in QUESTIONS if each.gold_item_id in {item.item_id for item in ITEMS}]
    strangers = [replace(each, question_id=f"not {each.question_id}", gold_item_id="gone") for each in QUESTIONS]
    assert known
    questions = put(run, BENCHMARK, "half", make_question_table([*known, *strangers]))
    compared, _ = compare(run, knowledge, questions, make_searches(run))
    assert {row["n"] for row in read_rows(compared) if row["language"] is None} == {len(known)}
    assert f"{len(strangers)} of {len(known) + len(strangers)} questions are left out" in caplog.text
    assert "make embedders" in caplog.text  # nothing to compare with


def test_a_corpus_without_pictures_is_refused_before_anything_is_made(context: Context) -> None:
    run = make_asking(context, 5)
    knowledge = put(run, KNOWLEDGE, "texts", make_item_table([replace(item, image=None) for item in ITEMS[:3]]))
    for source in ("pictures", "asked"):
        with pytest.raises(ParameterRefused, match="none of 3 items has a picture"):
            collect_questions(run, knowledge, source)


def test_every_item_that_shows_the_picture_is_right_where_the_question_is_a_picture(context: Context) -> None:
    """Ten items of one flag in one language, and others: which of the ten is first says nothing of the search."""
    run = make_asking(context, 6)
    english = [item for item in ITEMS if item.language == "en"]
    same = [replace(english[0], text=f"{english[0].text} {number}") for number in range(10)]
    knowledge = put(run, KNOWLEDGE, "captions", make_item_table([*same, *english[1:6]]))
    questions = augment_pictures.fn(run, knowledge)
    compared, found = compare(run, knowledge, questions, make_searches(run))
    [first] = [row["found"] for row in read_rows(compared) if row["language"] is None and row["k"] == 1]
    image_of = {item.item_id: item.image_id for item in [*same, *english[1:6]]}
    asked = {each.question_id: image_of[each.gold_item_id or ""] for each in read_questions(questions)}
    [retrieved] = found.values()
    by_picture = [image_of[row["item_ids"][0]] == asked[row["question_id"]] for row in read_rows(retrieved)]
    assert first == pytest.approx(sum(by_picture) / 6) and first > 0.5


def test_a_memory_is_searched_as_before_whatever_was_tried(context: Context) -> None:
    finished: Finished = finish_run(context, ITEMS, QUESTIONS)
    before = comem.open(finished.place).version
    searches = make_searches(finished.run, (1, 1), (2, 2))
    compare(finished.run, finished.knowledge, finished.questions, searches)
    assert comem.open(finished.place).version == before
    # What was tried is opened once a run asks with it.
    chosen = finished.run.with_recipe(retrieval=replace(searches["backbone 2x2"], k=3))
    index = build_index.fn(chosen, finished.knowledge)
    retrieve.fn(chosen, index, finished.questions)
    assert index.fingerprint in comem.open(finished.place).version


def test_what_is_tried_can_be_opened_where_nothing_else_was_made(context: Context) -> None:
    """A bank without an index of its own run: the index that was tried is better than none."""
    finished = finish_run(context, ITEMS, QUESTIONS)
    tried = make_searches(finished.run, (1, 1))["backbone"]
    others = make_trial(finished.run.recipe, "pictures", [tried], num_questions=10).searches
    compare(finished.run, finished.knowledge, finished.questions, others)
    store = Store.of(finished.run.context)
    for stage, reference in (("index", finished.index), ("retrieval", finished.retrieved)):
        (store.folder / stage / reference.fingerprint / "record.json").unlink()
    assert comem.open(finished.place).version.split("-")[2] in {
        record["inputs"]["index"] for record in store.list_records("retrieval")
    }


def test_a_plan_counts_every_search(context: Context) -> None:
    run = make_asking(context, 8)
    knowledge = put(run, KNOWLEDGE, "items", make_item_table(ITEMS))
    with start_planning() as planned:
        questions = collect_questions(run, knowledge, "pictures")
        compare(run, knowledge, questions, make_searches(run, (1, 1)))
    assert [each.stage for each in planned.stages] == [
        "augmented-questions", "index", "retrieval", "index", "retrieval", "tried-searches",
    ]  # fmt: skip


def test_searches_among_the_same_vectors_share_an_index(context: Context) -> None:
    """Other weights, numbers of items or languages search the same index; a plan counts it once."""
    run = make_asking(context, 8)
    knowledge = put(run, KNOWLEDGE, "items", make_item_table(ITEMS))
    own = run.recipe.retrieval
    searches = [own, replace(own, same_language=False), replace(own, exclude_own_image=True), replace(own, grid=(1, 1))]
    with start_planning() as planned:
        questions = collect_questions(run, knowledge, "pictures")
        found = retrieve_by_each(run, knowledge, questions, {str(each): each for each in searches})
    stages = [each.stage for each in planned.stages]
    assert (stages.count("index"), stages.count("retrieval")) == (2, 4)
    assert len({each.fingerprint for each in found.values()}) == 4
