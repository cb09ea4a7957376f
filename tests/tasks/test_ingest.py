"""Ingesting a corpus of one's own: good rows go on, bad rows are listed, an edited file is read again."""

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from comem_core.knowledge.items import Question
from comem_core.recipes import recipe_named
from comem_core.worlds.countries.world import benchmark_questions, knowledge_items
from tasks.context import Context
from tasks.ingest import ingest_knowledge
from tasks.partial import Partial
from tasks.rows import item_table, question_table, read_items, read_questions
from tasks.run import NO_BACKBONE, Run
from tasks.store import Reference


def run_on(corpus: Path, context: Context) -> Run:
    recipe = recipe_named("tiny_cpu")
    recipe = replace(recipe, knowledge=replace(recipe.knowledge, corpus=str(corpus)))
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A JSONL of two good rows, one whose picture is no picture, and one without text."""
    (tmp_path / "good.png").write_bytes(knowledge_items()[0].picture)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    common = {"language": "en", "source": "test", "licence": "CC0-1.0"}
    rows = [
        {"image": "good.png", "text": "Country: Andorra."} | common,
        {"image": "bad.png", "text": "Capital: Andorra la Vella."} | common,
        {"image": "good.png", "text": ""} | common,
        {"image": "good.png", "text": "Currency: Euro."} | common,
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_good_rows_go_on_and_bad_rows_are_listed_with_file_row_and_reason(corpus: Path, context: Context) -> None:
    knowledge = ingest_knowledge.fn(run_on(corpus, context))
    assert [item.text for item in read_items(knowledge).values()] == ["Country: Andorra.", "Currency: Euro."]
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        assert con.execute("SELECT row, reason FROM dropped_row ORDER BY row").fetchall() == [
            (2, "unreadable_image"),
            (3, "missing_text"),
        ]


def test_the_same_corpus_is_reused_and_an_edited_one_is_read_again(corpus: Path, context: Context) -> None:
    first, again = (ingest_knowledge.fn(run_on(corpus, context)) for _ in range(2))
    assert again == first
    with corpus.open("a", encoding="utf-8") as stream:
        row = {"image": "good.png", "text": "Area: 468 km².", "language": "en", "source": "test", "licence": "CC0-1.0"}
        stream.write("\n" + json.dumps(row))
    edited = ingest_knowledge.fn(run_on(corpus, context))
    assert edited.fingerprint != first.fingerprint
    assert len(read_items(edited)) == 3


def test_a_corpus_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path, context: Context) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        ingest_knowledge.fn(run_on(tmp_path / "nowhere.jsonl", context))


def test_items_and_questions_come_back_from_rows_as_they_went_in(tmp_path: Path) -> None:
    items, questions = list(knowledge_items()[:7]), list(benchmark_questions("dev")[:7])
    questions.append(Question(question_id="asked/1", question="?", image=items[0].picture, language="en", answers=()))
    folder = Partial(tmp_path)
    folder.write_shard("part-00000", item_table(items))
    reference = Reference(stage="x", fingerprint="x", uri=str(tmp_path), num_rows=7)
    assert list(read_items(reference).values()) == items
    (tmp_path / "part-00000.parquet").unlink()
    folder.write_shard("part-00000", question_table(questions))
    assert read_questions(reference) == questions
