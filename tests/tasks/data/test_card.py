"""A training set stands alone: whole rows in files that can be copied away, and a card that counts them."""

import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_knowledge_items, load_seed_questions
from tasks.data.card import CARD, CROISSANT, JudgedSet, write_card
from tasks.data.filter import filter_qa
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.rows.tables import make_item_table, make_question_table
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tests.dictionary_translator import rows_of
from warehouse.content import hash_file
from warehouse.samples.training_files import make_training_tables
from warehouse.schemas import check_rows, make_blank_row

# In a process of its own: the loader imports absl, whose log handler closes what pytest gave it for its output.
LOADER = """
import json
import mlcroissant
data = mlcroissant.Dataset("croissant.json")
issues = data.metadata.ctx.issues
def write(value):
    return value.decode() if isinstance(value, bytes) else getattr(value, "size", None) or str(value)
rows = [dict(row) for row in data.records("samples")]
print(json.dumps({"errors": [*issues.errors], "warnings": [*issues.warnings], "rows": rows}, default=write))
"""
SEEDS = [question for question in load_seed_questions() if question.language == "en"][:12]


@pytest.fixture
def run(context: Context) -> Run:
    return Run(
        run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE
    )


@pytest.fixture
def made(run: Run) -> tuple[Reference, JudgedSet]:
    """Items, and questions with right answers, of which the first is judged wrong."""
    drafts = [
        make_blank_row("draft") | {"mode": "answer"} | rows_of(question, question.answers[0])[0] for question in SEEDS
    ]
    judged = {"judge": "infoseek", "metric_score": 1.0, "grounded": True}
    verdicts = [make_blank_row("verdict") | judged | {"sample_id": row["sample_id"]} for row in drafts]
    verdicts[0]["metric_score"] = 0.0
    items = make_item_table(item for item in load_knowledge_items() if item.language == "en")
    given = {"knowledge_item": items, "question": make_question_table(SEEDS)}
    given |= {"draft": check_rows("draft", drafts), "verdict": check_rows("verdict", verdicts)}
    stored = {table: _stored(run, table, rows) for table, rows in given.items()}
    kept = filter_qa.fn(run, stored["question"], stored["draft"], stored["verdict"])
    parts = {"questions": stored["question"], "drafts": stored["draft"], "verdicts": stored["verdict"], "kept": kept}
    return stored["knowledge_item"], JudgedSet(**parts)


def _stored(run: Run, table: str, rows) -> Reference:
    def make(artefact: Partial) -> None:
        artefact.write_shard("part-00000", rows)

    return run_stage(run, Stage(name=table, version="1", table=table), run.recipe.filters, {}, make)


def test_the_folder_holds_every_kept_sample_whole_and_says_so(run: Run, made: tuple[Reference, JudgedSet]) -> None:
    knowledge, judged = made
    card = write_card.fn(run, knowledge, [judged])
    rows = pq.read_table(card.folder / "train-00000.parquet").to_pylist()
    by_id = {row["sample_id"]: row for row in rows}
    expected = {rows_of(question, "")[0]["sample_id"]: question for question in SEEDS[1:]}
    assert set(by_id) == set(expected) and len(rows) == 11
    items = {item.item_id: item for item in load_knowledge_items()}
    for sample_id, question in expected.items():
        row, item = by_id[sample_id], items[question.gold_item_id or ""]
        assert (row["question"], row["answer"], row["image"]) == (
            question.question,
            question.answers[0],
            question.image,
        )
        assert row["answers"] == list(question.answers)
        assert (row["item_ids"], row["item_ranks"], row["retrieval_scores"]) == ([item.item_id], [1], [0.9])
        assert (row["item_texts"], row["item_images"]) == ([item.text], [item.image])
        assert (row["item_licences"], row["item_sources"]) == ([item.licence], [item.source])
    text = (card.folder / CARD).read_text(encoding="utf-8")
    assert "# tiny_cpu\n\n11 samples" in text and "Of 12 drafts, 11 are kept" in text
    assert "| wrong | 1 | 1 |" in text and "longer than 12 words" in text
    again = write_card.fn(run, knowledge, [judged])
    assert again == card


def test_the_metadata_of_a_copied_set_is_read_by_the_official_loader(
    run: Run, made: tuple[Reference, JudgedSet], tmp_path: Path
) -> None:
    knowledge, judged = made
    card = write_card.fn(run, knowledge, [judged])
    folder = Path(shutil.copytree(card.folder, tmp_path / "copied"))
    done = subprocess.run([sys.executable, "-c", LOADER], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["errors"] == []
    assert [word for word in ("citeAs", "datePublished", "version") if word in str(found["warnings"])] == [
        "citeAs", "datePublished", "version",
    ]  # fmt: skip
    assert len(found["warnings"]) == 3
    rows = pq.read_table(folder / "train-00000.parquet").to_pylist()
    assert len(found["rows"]) == len(rows) == 11
    for values, row in zip(found["rows"], rows, strict=True):
        assert values.keys() == {f"samples/{name}" for name in row}
        assert (values["samples/question"], values["samples/item_ranks"]) == (row["question"], row["item_ranks"])
        assert values["samples/item_texts"] == row["item_texts"]
        assert values["samples/image"] == [*Image.open(BytesIO(row["image"])).size]
        assert values["samples/item_images"] == [[*Image.open(BytesIO(each)).size] for each in row["item_images"]]
    described = json.loads((folder / CROISSANT).read_text(encoding="utf-8"))
    (file,) = (each for each in described["distribution"] if each["@type"] == "cr:FileObject")
    assert file["sha256"] == hash_file(folder / file["contentUrl"])
    assert (
        isinstance(described["rai:dataCollection"], str) and "answers of the model" in described["rai:dataCollection"]
    )
    assert described["inLanguage"] == ["en"] and described["license"] == sorted(
        {row["item_licences"][0] for row in rows}
    )


def test_a_large_set_is_cut_into_files_and_an_empty_one_has_a_file_without_rows(
    made: tuple[Reference, JudgedSet], tmp_path: Path
) -> None:
    knowledge, judged = made
    paths = {"drafts": judged.drafts, "questions": judged.questions, "items": knowledge}
    files: dict[str, Any] = {name: reference.list_shards() for name, reference in paths.items()}
    kept = [judged.kept.folder / "part-00000.parquet"]
    tables = list(make_training_tables(**files, kept=kept, rows_per_table=4))
    assert [table.num_rows for table in tables] == [4, 4, 3]
    ids = [name for table in tables for name in table["sample_id"].to_pylist()]
    assert ids == sorted(ids) and len({str(table.schema) for table in tables}) == 1
    (whole,) = make_training_tables(**files, kept=kept)
    assert whole["sample_id"].to_pylist() == ids
    pq.write_table(pq.read_table(kept[0]).slice(0, 0), tmp_path / "none.parquet")
    (empty,) = make_training_tables(**files, kept=[tmp_path / "none.parquet"])
    assert empty.num_rows == 0 and empty.schema == whole.schema


def test_a_sample_that_is_not_whole_is_refused(made: tuple[Reference, JudgedSet], tmp_path: Path) -> None:
    knowledge, judged = made
    kept = [judged.kept.folder / "part-00000.parquet"]
    files = {
        "drafts": judged.drafts.list_shards(),
        "questions": judged.questions.list_shards(),
        "items": knowledge.list_shards(),
    }

    def without(name: str) -> dict[str, Any]:
        (path,) = files[name]
        pq.write_table(pq.read_table(path).slice(0, 0), tmp_path / f"{name}.parquet")
        return files | {name: [tmp_path / f"{name}.parquet"]}

    for name, said in [
        ("drafts", r"kept samples without a draft: .* \(11 in all\)"),
        ("questions", "question .* is missing, or has no picture"),
        ("items", "item .* is not among the items"),
    ]:
        with pytest.raises(ValueError, match=said):
            list(make_training_tables(**without(name), kept=kept))
