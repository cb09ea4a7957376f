"""Questions that are read when they are asked for: as a list would give them, holding little."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from comem_core.evaluation.conditions import AskedQuestion
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.engine.partial import Partial
from tasks.engine.store import Reference
from tasks.rows.stored_questions import StoredQuestions
from tasks.rows.tables import (
    ROWS_OF_A_GROUP,
    make_item_table,
    open_item_lengths,
    read_items,
    read_questions,
    write_questions,
)

QUESTIONS = load_benchmark_questions("dev")[:150]


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """Two shards: one of several row groups, one of a few rows; and one of another table."""
    artefact = Partial(tmp_path)
    assert write_questions(artefact, "part-00000", QUESTIONS[:140]) == 140 > 2 * ROWS_OF_A_GROUP
    assert write_questions(artefact, "part-seeds", iter(QUESTIONS[140:])) == 10
    return Reference(stage="questions", fingerprint="x", uri=str(tmp_path), num_rows=150)


@pytest.mark.parametrize("held_bytes", [0, 256_000_000])
def test_stored_questions_are_the_list_that_was_written(reference: Reference, held_bytes: int) -> None:
    stored = StoredQuestions(reference.list_shards(), held_bytes=held_bytes)
    assert len(stored) == 150 and list(stored) == list(QUESTIONS)
    assert [stored[place] for place in (149, 0, 70, -1)] == [QUESTIONS[place] for place in (149, 0, 70, -1)]
    assert stored[60:70] == list(QUESTIONS[60:70])
    assert [stored.of(each.question_id) for each in QUESTIONS[::-7]] == list(QUESTIONS[::-7])
    with pytest.raises(KeyError):
        stored.of("gone")
    with pytest.raises(IndexError):
        stored[150]


def test_one_question_costs_the_pictures_of_its_row_group_and_what_is_not_asked_for_costs_none(
    reference: Reference,
) -> None:
    stored = read_questions(reference)
    asked = list(stored.without_pictures())
    assert asked[3] == AskedQuestion(
        **{name: getattr(QUESTIONS[3], name) for name in AskedQuestion.__dataclass_fields__}
    )
    assert len(asked) == 150 and not stored.rows.held
    assert stored.open_pictures()[QUESTIONS[100].image_id] == QUESTIONS[100].image
    assert [len(rows) for _, rows in stored.rows.held.values()] == [ROWS_OF_A_GROUP]


def test_pictures_are_written_without_a_dictionary_and_texts_with_one(reference: Reference) -> None:
    group = pq.read_metadata(reference.list_shards()[0]).row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert [each.path_in_schema for each in columns if not each.has_dictionary_page] == ["image"]


def test_of_two_questions_of_one_id_the_last_is_found_and_none_is_none(tmp_path: Path) -> None:
    twice = [QUESTIONS[0], QUESTIONS[1], replace(QUESTIONS[0], question="Again?")]
    write_questions(Partial(tmp_path), "part-00000", twice)
    reference = Reference(stage="questions", fingerprint="x", uri=str(tmp_path), num_rows=3)
    assert read_questions(reference).of(QUESTIONS[0].question_id).question == "Again?"
    nothing: list[Question] = []
    write_questions(Partial(tmp_path), "part-00000", nothing)
    assert list(read_questions(reference)) == list(read_questions(reference).without_pictures()) == nothing


def test_lengths_of_items_are_characters_and_something_for_a_picture(tmp_path: Path) -> None:
    bare = [KnowledgeItem(text=text, language="ar", source="s", licence="l") for text in ("مرحبا", "é" * 30)]
    items = [*bare, load_knowledge_items()[0]]
    Partial(tmp_path).write_shard("part-00000", make_item_table(items))
    stored = read_items(Reference(stage="knowledge", fingerprint="x", uri=str(tmp_path), num_rows=3))
    whole, bounded = open_item_lengths(stored), open_item_lengths(stored, most=20, of_picture=256)
    assert [whole(item.item_id) for item in items] == [5, 30, len(items[2].text)]
    assert [bounded(item.item_id) for item in items] == [5, 20, 20 + 256]
