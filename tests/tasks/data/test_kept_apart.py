"""Samples are kept apart from every benchmark whose files are at hand; the others are named."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.items import Question
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_knowledge_items, load_seed_questions
from tasks.data.card import CARD, JudgedSet, write_card
from tasks.data.filter import filter_qa
from tasks.data.kept_apart import collect_against
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.rows.tables import make_item_table, make_question_table, read_rows
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tests.dictionary_translator import rows_of
from warehouse.schemas import check_rows, make_blank_row

SEEDS = [seed for seed in load_seed_questions() if seed.language == "en"]
SHOWN = SEEDS[0]
WORDS = "this singer's re-issued song became the UK Christmas number one after helping to advertise what brand?"


@pytest.fixture
def run(context: Context) -> Run:
    """A run of tiny samples under the filters of the large recipes."""
    tiny, large = find_recipe("tiny_cpu"), find_recipe("comem_qwen25_vl_7b")
    recipe = replace(tiny, filters=large.filters, against=large.against)
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


@pytest.fixture
def store(run: Run) -> Callable[..., Reference]:
    def put(table: str, rows: pa.Table) -> Reference:
        def make(artefact: Partial) -> None:
            artefact.write_shard("part-00000", rows)

        return run_stage(run, Stage(name=table, version="1", table=table), run.recipe.filters, {}, make)

    return put


def viquae(run: Run, *, picture: bytes | None) -> None:
    """Write ViQuAE as released: two questions about one picture, of which one has the words of no seed."""
    folder = run.context.benchmarks / "viquae"
    folder.mkdir(parents=True)
    row = {"image": "shown.png", "kilt_id": "sfq_1", "meta": {}, "original_question": "", "wikidata_id": "Q1"}
    row |= {"url": "", "output": {"original_answer": "Levi's", "answer": ["Levi's"]}}
    lines = [row | {"id": "a", "input": WORDS}, row | {"id": "b", "input": "what is this?"}]
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if picture is not None:
        (folder / "shown.png").write_bytes(picture)


def seeds_far_from(question: Question) -> list[Question]:
    return [seed for seed in SEEDS if seed.entity_id != question.entity_id][:5]


def test_samples_about_a_benchmarks_picture_or_in_its_words_are_dropped_and_the_card_says_which_were_missing(
    run: Run, store: Callable[..., Reference], caplog: Any
) -> None:
    viquae(run, picture=SHOWN.image)
    own = store("question", make_question_table([]))
    with caplog.at_level("WARNING"):
        against = collect_against.fn(run, own)
    assert list(against.benchmarks) == ["countries-vqa", "viquae"]
    assert against.benchmarks["viquae"].num_rows == 2
    assert set(against.missing) == set(run.recipe.against) - {"viquae"}
    assert "samples are not compared with okvqa: the files of okvqa are not at" in caplog.text
    assert all("image" not in row for row in read_rows(against.benchmarks["viquae"]))

    clean = seeds_far_from(SHOWN)
    asked = [SHOWN, *clean[:-1], replace(clean[-1], question=WORDS)]
    drafts = [make_blank_row("draft") | rows_of(seed, seed.answers[0])[0] for seed in asked]
    judged = {"judge": "infoseek", "metric_score": 1.0, "grounded": True}
    verdicts = [make_blank_row("verdict") | judged | {"sample_id": row["sample_id"]} for row in drafts]
    parts = {
        "questions": run_stage_of(run, asked),
        "drafts": store("draft", check_rows("draft", drafts)),
        "verdicts": store("verdict", check_rows("verdict", verdicts)),
    }
    kept = filter_qa.fn(run, parts["questions"], parts["drafts"], parts["verdicts"], against.benchmarks)
    dropped = pq.read_table(kept.folder / "drops.parquet").to_pylist()
    drops = {(row["sample_id"], row["reason"]) for row in dropped}
    names = [row["sample_id"] for row in drafts]
    assert drops == {(names[0], "contaminated_image"), (names[-1], "contaminated_question")}
    assert {row["sample_id"] for row in read_rows(kept)} == set(names[1:-1])

    items = store("knowledge_item", make_item_table(item for item in load_knowledge_items() if item.language == "en"))
    card = write_card.fn(run, items, [JudgedSet(**parts, kept=kept)], against.missing)
    text = (card.folder / CARD).read_text(encoding="utf-8")
    assert f"benchmark viquae={against.benchmarks['viquae'].fingerprint}" in text
    assert "Drafts were not compared with a-okvqa, a-okvqa-mc, cvqa, infoseek" in text


def run_stage_of(run: Run, questions: list[Question]) -> Reference:
    def make(artefact: Partial) -> None:
        artefact.write_shard("part-00000", make_question_table(questions))

    return run_stage(run, Stage(name="questions", version="1", table="question"), run.recipe.filters, {}, make)


def test_a_benchmark_without_its_pictures_is_named_and_stops_nothing(run: Run, store: Callable[..., Reference]) -> None:
    viquae(run, picture=None)
    against = collect_against.fn(run, store("question", make_question_table([])))
    assert list(against.benchmarks) == ["countries-vqa"]
    assert against.missing["viquae"].startswith("none of its questions could be read in ")


def test_an_unknown_benchmark_is_an_error(run: Run, store: Callable[..., Reference]) -> None:
    wrong = replace(run, recipe=replace(run.recipe, against=("okvqaa",)))
    with pytest.raises(ValueError, match="unknown benchmark: 'okvqaa'"):
        collect_against.fn(wrong, store("question", make_question_table([])))
