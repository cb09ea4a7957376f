"""What an encoder was trained on is followed to its samples; what is not known is said; clean questions are scored."""

import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.evaluation.scores import COUNTED
from comem_core.knowledge.items import Question
from comem_core.knowledge.pictures import hash_picture
from comem_core.memory.description import DESCRIPTION
from comem_core.pretraining.trained_on import write_listing
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items, load_seed_questions
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.evaluation.contamination import find_contamination, map_clean_questions, read_measured
from tasks.evaluation.score import score_predictions
from tasks.rows.tables import make_item_table, make_question_table, read_rows
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tasks.training.training_data import find_training_data
from tests.bits import bits_apart
from tests.dictionary_translator import rows_of
from warehouse.connection import open_warehouse
from warehouse.page.data import collect
from warehouse.records import record_run
from warehouse.schemas import check_rows, make_blank_row

UNSEEN = [question for question in load_benchmark_questions("test") if question.split == "unseen_entity"]
SEEDS = [seed for seed in load_seed_questions() if seed.language == "en"][:6]
COPIED = "Which of the two towers in this old photograph of the harbour was built first?"


@dataclass(frozen=True)
class Made:
    """A recipe for what these tests put into the store."""

    name: str


@pytest.fixture
def run(context: Context) -> Run:
    run = Run(
        run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE
    )
    with open_warehouse(context.warehouse) as con:
        record_run(
            con, {"run_id": "run-1", "flow": "f", "recipe_name": "tiny_cpu", "recipe": None, "flow_run_id": None}
        )
    return run


def with_another_bit(question: Question) -> bytes:
    """Return the picture with one pixel after another made grey until its hashes differ, a little."""
    image = Image.open(io.BytesIO(question.image)).convert("RGB")
    before = hash_picture(question.image)
    for place in range(image.width * image.height):
        image.putpixel((place % image.width, place // image.width), (128, 128, 128))
        written = io.BytesIO()
        image.save(written, "PNG")
        if hash_picture(written.getvalue()) != before:
            assert 1 <= bits_apart(before, hash_picture(written.getvalue())) <= 6
            return written.getvalue()
    raise AssertionError("no pixel changed a hash")


def asked_questions() -> list[Question]:
    """A benchmark of ten: one whose flag is nearly a seed's, one copied word for word, eight about unseen countries."""
    pictures = {seed.image_id for seed in load_seed_questions()}
    asked = [question for question in UNSEEN if question.image_id not in pictures and question.language == "en"]
    chosen = [next(each for each in asked if each.image_id == name) for name in sorted({q.image_id for q in asked})][
        :20
    ]
    far = [
        each
        for each in chosen
        if all(bits_apart(hash_picture(each.image), hash_picture(seed.image)) > 6 for seed in SEEDS)
    ][:10]
    near = replace(far[0], question_id="near", image=with_another_bit(SEEDS[0]))
    copied = replace(far[1], question_id="copied", question=COPIED)
    return [near, copied, *far[2:]]


def stored(run: Run, stage: str, table: str, rows: Any, name: str = "", **inputs: Reference) -> Reference:
    def make(artefact: Partial) -> None:
        artefact.write_shard("part-00000", rows)

    return run_stage(run, Stage(name=stage, version="1", table=table), Made(name=name or stage), inputs, make)


@pytest.fixture
def trained(run: Run) -> Callable[..., Reference]:
    """Return a function that trains an encoder, as far as its record goes: on SEEDS, of which one is reworded."""

    def train(name: str = "encoder", dropped: Sequence[str] = (), **also: Reference) -> Reference:
        seeds = [*SEEDS[:-1], replace(SEEDS[-1], question=COPIED)]
        drafts = [make_blank_row("draft") | rows_of(seed, seed.answers[0])[0] for seed in seeds]
        kept = [{"sample_id": row["sample_id"]} for row in drafts if row["question"] not in dropped]
        samples = {
            "questions": stored(run, "questions", "question", make_question_table(seeds)),
            "drafts": stored(run, "drafts", "draft", check_rows("draft", drafts)),
            "kept": stored(run, "samples", "sample", check_rows("sample", kept), name=str(dropped)),
        }
        step = check_rows("training_step", [make_blank_row("training_step") | {"step": 1}])

        def make(artefact: Partial) -> None:
            with artefact.open_file("encoder.safetensors") as path:
                path.write_text(name)
            artefact.write_shard("part-00000", step)

        inputs = samples | also
        return run_stage(run, Stage(name="encoder", version="1", table="training_step"), Made(name=name), inputs, make)

    return train


@pytest.fixture
def knowledge(run: Run) -> Reference:
    """Items of the first countries, and one that shows the picture of the third benchmark question."""
    shown = replace(load_knowledge_items()[0], image=asked_questions()[2].image)
    return stored(run, "knowledge", "knowledge_item", make_item_table([*load_knowledge_items()[:5], shown]))


@pytest.fixture
def asked(run: Run) -> Reference:
    return stored(run, "benchmark", "question", make_question_table(asked_questions()))


def test_nearly_the_same_picture_and_copied_words_are_flagged_and_the_rest_is_clean(
    run: Run, trained: Callable[..., Reference], knowledge: Reference, asked: Reference, caplog: Any
) -> None:
    with caplog.at_level("INFO"):
        found = find_contamination.fn(run, asked, knowledge, trained())
    rows = list(read_rows(found))
    kinds = {(row["question_id"], row["source"], row["kind"]) for row in rows if row["source"] == "training"}
    assert kinds == {("near", "training", "image"), ("copied", "training", "question")}
    names = [question.question_id for question in asked_questions()]
    shown = {row["question_id"] for row in rows if row["source"] == "knowledge"}
    assert names[2] in shown
    clean = map_clean_questions(run, found, names)
    assert clean == dict.fromkeys(names, "yes") | {"near": "no", "copied": "no"}
    assert "2 of 10 questions are like known training samples (picture 1, words 1); 8 are clean" in caplog.text


def test_what_was_dropped_was_not_trained_on_and_then_all_are_clean(
    run: Run, trained: Callable[..., Reference], knowledge: Reference, asked: Reference, caplog: Any
) -> None:
    encoder = trained(dropped=[COPIED, SEEDS[0].question])
    near = {row["other_id"] for row in read_rows(find_contamination.fn(run, asked, knowledge, encoder))}
    assert rows_of(replace(SEEDS[-1], question=COPIED), "")[0]["sample_id"] not in near
    with caplog.at_level("INFO"):
        find_contamination.fn(run, asked, knowledge, trained("other", [seed.question for seed in SEEDS] + [COPIED]))
    assert "all 10 questions are clean" in caplog.text


def test_an_encoder_without_a_record_and_one_that_started_from_unknown_weights_leave_the_rest_unknown(
    run: Run, trained: Callable[..., Reference], knowledge: Reference, asked: Reference
) -> None:
    names = [question.question_id for question in asked_questions()]
    ships = Reference(stage="encoder", fingerprint="ships", uri="/somewhere", num_rows=0)
    found = find_contamination.fn(run, asked, knowledge, ships)
    assert set(map_clean_questions(run, found, names).values()) == {None}
    record = json.loads((found.folder / "record.json").read_text())
    assert record["recipe"]["unknown"] == ["the encoder ships has no record in the store"]

    start = Reference(stage="encoder-start", fingerprint="weights", uri="/somewhere", num_rows=0)
    found = find_contamination.fn(run, asked, knowledge, trained("started", start=start))
    assert map_clean_questions(run, found, names) == dict.fromkeys(names) | {"near": "no", "copied": "no"}

    first = trained("first")
    start = replace(start, fingerprint=hash_backbone(first.folder))
    found = find_contamination.fn(run, asked, knowledge, trained("second", [COPIED], start=start))
    assert map_clean_questions(run, found, names) == dict.fromkeys(names, "yes") | {"near": "no", "copied": "no"}


def listed_encoder(folder: Path, samples: Sequence[Question]) -> Reference:
    """An encoder from elsewhere, with a list of what it was trained on beside its weights."""
    folder.mkdir()
    (folder / DESCRIPTION).write_text(json.dumps({"of": folder.name}))
    (folder / "encoder.safetensors").write_text(folder.name)
    rows = [
        {"sample_id": seed.question_id, "words": seed.question, "image_id": None}
        | dict(zip(("image_hash", "image_chroma"), hash_picture(seed.image), strict=True))
        for seed in samples
    ]
    write_listing(folder, rows, what="seeds", made_by="a test")
    return Reference(stage="encoder", fingerprint=hash_backbone(folder), uri=str(folder), num_rows=0)


def test_an_encoder_from_elsewhere_is_compared_with_the_list_beside_its_weights(
    run: Run, knowledge: Reference, asked: Reference, tmp_path: Path
) -> None:
    names = [question.question_id for question in asked_questions()]
    encoder = listed_encoder(tmp_path / "listed", [*SEEDS[:-1], replace(SEEDS[-1], question=COPIED)])
    found = find_contamination.fn(run, asked, knowledge, encoder)
    assert map_clean_questions(run, found, names) == dict.fromkeys(names, "yes") | {"near": "no", "copied": "no"}
    near = {row["other_id"] for row in read_rows(found) if row["question_id"] == "near" and row["source"] == "training"}
    assert near == {SEEDS[0].question_id}

    (encoder.folder / "trained_on.parquet").write_bytes(b"something else")
    changed = find_contamination.fn(run, asked, knowledge, encoder)
    assert set(map_clean_questions(run, changed, names).values()) == {None}
    assert "listed/trained_on.parquet has changed" in read_measured(run, changed)["unknown"][0]


def test_of_encoders_that_ship_and_of_one_trained_from_their_start_all_samples_are_known(
    run: Run, trained: Callable[..., Reference]
) -> None:
    store = Store.of(run.context)
    start, ships = (
        Reference(stage="encoder", fingerprint=hash_backbone(SHIPPED / name), uri="/somewhere", num_rows=0)
        for name in ("tiny-encoder-start", "tiny-encoder")
    )
    lists = [SHIPPED / name / "trained_on.parquet" for name in ("tiny-encoder", "tiny-encoder-start")]
    assert find_training_data(store, ships).lists == lists and not find_training_data(store, ships).unknown
    data = find_training_data(store, trained(start=start))
    assert (data.lists, len(data.sets), data.unknown) == (lists[1:], 1, ())


def test_samples_that_are_gone_are_not_known(
    run: Run, trained: Callable[..., Reference], knowledge: Reference, asked: Reference
) -> None:
    encoder = trained()
    by_folder = replace(encoder, fingerprint=hash_backbone(encoder.folder))
    found = find_contamination.fn(run, asked, knowledge, by_folder)
    assert "yes" in map_clean_questions(run, found, [question.question_id for question in asked_questions()]).values()
    shutil.rmtree(run.context.store / "drafts")
    gone = find_contamination.fn(run, asked, knowledge, encoder)
    assert gone.fingerprint != found.fingerprint
    assert "samples of the encoder" in json.loads((gone.folder / "record.json").read_text())["recipe"]["unknown"][0]


def test_scores_are_told_apart_by_clean_where_there_are_both(
    run: Run, trained: Callable[..., Reference], knowledge: Reference, asked: Reference
) -> None:
    questions = asked_questions()
    predictions = [
        make_blank_row("prediction")
        | {"prediction_id": f"p{place}", "benchmark": "countries-vqa", "question_id": question.question_id}
        | {"split": question.split, "condition": "none", "k": 0, "item_ids": [], "prompt_tokens": 9}
        | {"answer": question.answers[0] if place < 2 else "no idea", "truncated": False}
        for place, question in enumerate(questions)
    ]
    answered = stored(run, "predictions", "prediction", check_rows("prediction", predictions))
    values = {}
    for encoder in (trained(), trained("clean", [seed.question for seed in SEEDS] + [COPIED])):
        contamination = find_contamination.fn(run, asked, knowledge, encoder)
        scores = score_predictions.fn(run, asked, answered, contamination)
        rows = [row for row in read_rows(scores) if "clean=" in row["split"] and row["metric"] not in COUNTED]
        values[encoder.fingerprint] = {(row["split"], row["n"]): row["value"] for row in rows}
    first, second = values.values()
    assert first == {("unseen_entity/clean=no", 2): 1.0, ("unseen_entity/clean=yes", 8): 0.0}
    assert second == {}
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        page = collect(con, "run-1")
    assert {row["split"] for row in page.clean_scores} == {"unseen_entity/clean=no", "unseen_entity/clean=yes"}
    assert any("8 are clean" in sentence for sentence in page.contamination)
    with duckdb.connect(str(run.context.warehouse), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM contamination WHERE source = 'training'").fetchall() == [(2,)]
