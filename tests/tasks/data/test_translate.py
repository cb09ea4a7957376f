"""Kept samples of the countries world go through a real translator on Ray, the filters, and into training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.recipes import find_recipe
from comem_core.serving.layout import Record
from comem_core.synthesis.translation import check_languages, read_translation_prompts
from comem_core.worlds.countries.world import load_knowledge_items, load_seed_questions
from tasks.data.filter import filter_qa, read_dropped
from tasks.data.translate import translate_qa
from tasks.engine.context import Context
from tasks.engine.store import Reference, Store
from tasks.rows.samples import Samples, SampleSet
from tasks.rows.tables import list_shards, make_item_table, make_question_table, read_questions, read_rows
from tasks.run import Run, open_run
from tasks.sources import NO_BACKBONE
from tests import dictionary_translator
from tests.dictionary_translator import DictionaryTranslator, rows_of
from warehouse.connection import open_warehouse
from warehouse.schemas import check_rows, make_blank_row

LANGUAGES = ("es", "ru", "ar")
SEEDS = [question for question in load_seed_questions() if question.language in ("en", "es")][:20]


@pytest.fixture
def translator() -> Iterator[Callable[[Run], DictionaryTranslator]]:
    """Opens the translator in a worker, which does not see the tests folder: so the class travels whole."""
    cloudpickle.register_pickle_by_value(dictionary_translator)
    yield lambda run: DictionaryTranslator()
    cloudpickle.unregister_pickle_by_value(dictionary_translator)


@pytest.fixture
def making(tmp_path: Path) -> dict[str, Reference]:
    """Questions, drafts with the right answer, and all but two of them kept."""
    drafts = [make_blank_row("draft") | rows_of(question, question.answers[0])[0] for question in SEEDS]
    tables = {
        "questions": make_question_table(SEEDS),
        "drafts": check_rows("draft", drafts),
        "kept": check_rows("sample", [{"sample_id": row["sample_id"]} for row in drafts[2:]]),
        "knowledge": make_item_table(item for item in load_knowledge_items() if item.language in ("en", "es")),
    }
    return {name: stored(tmp_path / "given" / name, table) for name, table in tables.items()}


def stored(folder: Path, table: pa.Table) -> Reference:
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part-00000.parquet")
    return Reference(stage=folder.name, fingerprint=folder.name, uri=str(folder), num_rows=table.num_rows)


def run_of(
    context: Context, *, num_translated: int = 5, languages: Sequence[str] = LANGUAGES, generator: str = "backbone"
) -> Run:
    recipe = find_recipe("tiny_cpu")
    changes: dict[str, Any] = {"num_translated": num_translated, "languages": tuple(languages), "generator": generator}
    changes["max_translated_tokens"] = 16  # the tiny model cannot translate, and would not stop
    recipe = replace(recipe, synthesis=replace(recipe.synthesis, **changes))
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


def given(making: Mapping[str, Reference]) -> tuple[Reference, Reference, Reference]:
    return making["questions"], making["drafts"], making["kept"]


def translated(run: Run, making: Mapping[str, Reference], translator: Any) -> Reference:
    return translate_qa.fn(run, *given(making), translator)


def record_of(context: Context, made: Reference) -> Record:
    record = Store.of(context).find(made.stage, made.fingerprint)
    assert record is not None
    return record


def filtered(run: Run, reference: Reference) -> Reference:
    return filter_qa.fn(run, reference, reference, reference)


@pytest.mark.usefixtures("small_ray")
def test_translations_are_made_filtered_and_trained_on(
    context: Context, making: dict[str, Reference], translator: Any
) -> None:
    run = run_of(replace(context, rows_per_shard=4, batch_size=3))
    made = translated(run, making, translator)
    drafts = list(read_rows(made, "draft"))
    originals = {row["sample_id"]: row for row in read_rows(making["drafts"])}
    chosen = {row["translated_from"] for row in drafts}
    kept_ids = {row["sample_id"] for row in read_rows(making["kept"])}
    assert len(chosen) == 5 and chosen <= kept_ids
    wanted = {(each, into) for each in chosen for into in LANGUAGES if into != originals[each]["language"]}
    assert {(row["translated_from"], row["language"]) for row in drafts} == wanted and len(drafts) == len(wanted)
    assert [row["error"] for row in drafts] == [None] * len(drafts)
    verdicts = {row["sample_id"]: row for row in read_rows(made, "verdict")}
    questions = {question.question_id: question for question in read_questions(made)}
    assert set(verdicts) == {row["sample_id"] for row in drafts}
    measured = record_of(run.context, made)["measured"]
    assert (measured["rows"], measured["failed"]) == (len(drafts), 0)
    for name in ("prompt_tokens", "answer_tokens"):
        there, back = (sum(row[name] for row in rows) for rows in (drafts, verdicts.values()))
        assert measured[name] == there + back and there and back
    assert set(questions) == {row["question_id"] for row in drafts}

    kept = filtered(run, made)
    assert kept.num_rows == len(drafts)
    both = (
        SampleSet(questions=making["questions"], drafts=making["drafts"], kept=making["kept"]),
        SampleSet(questions=made, drafts=made, kept=kept),
    )
    samples = Samples(knowledge=making["knowledge"], sets=both)
    read = samples.read()
    assert len(read) == samples.num_kept == 18 + len(drafts)
    assert [sample.sample_id for sample in read] == sorted(sample.sample_id for sample in read)
    pictures = {question.question_id: question.image for question in SEEDS}
    by_id = {sample.sample_id: sample for sample in read}
    for row in drafts:
        original = originals[row["translated_from"]]
        sample = by_id[row["sample_id"]]
        assert sample.image == pictures[original["question_id"]] and sample.language == row["language"]
        assert sample.items == by_id[row["translated_from"]].items and sample.about == 0
    assert list(samples.inputs) == ["knowledge", "questions", "drafts", "kept", "questions-1", "drafts-1", "kept-1"]

    with open_warehouse(run.context.warehouse, read_only=True) as con:
        counts = con.execute(
            "SELECT (SELECT count(*) FROM draft), (SELECT count(*) FROM question), (SELECT count(*) FROM verdict)"
        ).fetchall()
    assert counts == [(len(drafts),) * 3]


@pytest.mark.usefixtures("small_ray")
def test_the_same_translations_come_of_other_batches_and_shards(
    tmp_path: Path, making: dict[str, Reference], translator: Any, make_context: Callable[..., Context]
) -> None:
    found = []
    for rows_per_shard, batch_size in ((64, 16), (3, 2)):
        context = make_context(tmp_path / str(rows_per_shard), rows_per_shard=rows_per_shard, batch_size=batch_size)
        made = translated(run_of(context), making, translator)
        stable = [
            [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(made, table)]
            for table in ("draft", "verdict", "question")
        ]
        found.append([sorted(rows, key=lambda row: row.get("sample_id") or row["question_id"]) for rows in stable])
        assert (
            len(list_shards(made, "draft")) == len(list_shards(made, "question")) == len(list_shards(made, "verdict"))
        )
    assert found[0] == found[1]


@pytest.mark.usefixtures("small_ray")
def test_translations_that_fail_are_rows_with_a_reason_and_none_is_kept(
    context: Context, making: dict[str, Reference], translator: Any
) -> None:
    silent: dict[str, Any] = dict.fromkeys(LANGUAGES, lambda reply: "I cannot translate this.")
    made = translated(run_of(context), making, lambda run: DictionaryTranslator(faults=silent))
    errors = [row["error"] for row in read_rows(made, "draft")]
    assert len(errors) >= 10 and all(error.startswith("unreadable") for error in errors)
    kept = filtered(run_of(context), made)
    assert kept.num_rows == 0
    assert set(errors) and len(read_dropped(kept, "failed")) == len(errors)
    assert list(read_rows(filtered(run_of(context), made))) == []


@pytest.mark.usefixtures("small_ray")
def test_only_new_samples_are_translated_and_what_got_no_reply_is_asked_again(
    context: Context, making: dict[str, Reference], translator: Any, make_context: Callable[..., Context]
) -> None:
    def silent(into: str) -> Callable[[Run], DictionaryTranslator]:
        return lambda run: DictionaryTranslator(name="tiny", silent_for=into)

    def count(made: Reference, *names: str) -> list[int]:
        measured = record_of(context, made)["measured"]
        return [measured[name] for name in names]

    first = translated(run_of(context), making, silent("into Russian"))
    lost = [row for row in read_rows(first, "draft") if row["error"] == "APITimeoutError"]
    assert 0 < len(lost) < first.num_rows and {row["language"] for row in lost} == {"ru"}
    second = translated(run_of(context, num_translated=6), making, silent("from Arabic"))
    known = first.num_rows - len(lost)
    assert count(second, "translated_before", "rows") == [known, second.num_rows - known]
    assert count(second, "verdicts_checked_before") == [known]
    third = translated(run_of(context, num_translated=7), making, silent(""))
    expected = translated(run_of(make_context(context.root / "empty"), num_translated=7), making, silent(""))
    for table in ("draft", "verdict", "question"):
        rows, others = (
            sorted(repr(row | {"seconds": None}) for row in read_rows(each, table)) for each in (third, expected)
        )
        assert rows == others
    before = {row["sample_id"] for row in read_rows(first, "draft")}
    unchecked = [
        row for row in read_rows(second, "draft") if row["language"] == "ar" and row["sample_id"] not in before
    ]
    assert count(third, "verdicts_checked_before") == [second.num_rows - len(unchecked)] and unchecked


@pytest.mark.usefixtures("small_ray")
def test_a_reused_translation_belongs_to_the_sample_of_now(
    context: Context, making: dict[str, Reference], translator: Any, tmp_path: Path
) -> None:
    run = run_of(context, num_translated=18, languages=["es"])
    first = translated(run, making, translator)
    drafts = [
        row | {"sample_id": f"of now {row['sample_id']}", "retrieval_scores": [0.5], "item_ids": ["another"]}
        for row in read_rows(making["drafts"])
    ]
    kept = check_rows("sample", [{"sample_id": row["sample_id"]} for row in drafts[2:]])
    now = {
        **making,
        "drafts": stored(tmp_path / "now" / "drafts", check_rows("draft", drafts)),
        "kept": stored(tmp_path / "now" / "kept", kept),
    }
    now = {name: replace(each, fingerprint=f"{each.fingerprint}-of-now") for name, each in now.items()}
    second = translated(run, now, translator)
    assert record_of(context, second)["measured"]["translated_before"] == second.num_rows == first.num_rows > 3
    rows = list(read_rows(second, "draft"))
    assert {row["translated_from"] for row in rows} <= {row["sample_id"] for row in drafts}
    assert {(*row["retrieval_scores"], *row["item_ids"]) for row in rows} == {(0.5, "another")}
    verdicts = {row["sample_id"] for row in read_rows(second, "verdict")}
    assert verdicts == {row["sample_id"] for row in rows} and len(verdicts) == first.num_rows
    assert {row["question_id"] for row in read_rows(second, "question")} == {row["question_id"] for row in rows}
    assert not verdicts & {row["sample_id"] for row in read_rows(first, "draft")}


def test_no_translations_are_empty_and_need_no_worker(context: Context, making: dict[str, Reference]) -> None:
    run = run_of(context, num_translated=0, languages=())
    made = translate_qa.fn(run, *given(making))
    assert [list(read_rows(made, table)) for table in ("draft", "question", "verdict")] == [[], [], []]
    kept = filtered(run, made)
    assert kept.num_rows == 0
    samples = Samples(
        knowledge=making["knowledge"],
        sets=(
            SampleSet(questions=making["questions"], drafts=making["drafts"], kept=making["kept"]),
            SampleSet(questions=made, drafts=made, kept=kept),
        ),
    )
    assert len(samples.read()) == 18


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(
    ("languages", "said"),
    [
        (("bg", "xx"), "'plain' cannot name the language 'xx'; they name ar"),
        ((), "translates 200 samples, but into no language"),
    ],
)
def test_a_recipe_that_cannot_be_translated_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: bool, languages: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    recipe = find_recipe("tiny_cpu")
    recipe = replace(recipe, synthesis=replace(recipe.synthesis, num_translated=200, languages=languages))
    with pytest.raises(ValueError, match=said), open_run("test", recipe, needs_generator=True, plan=plan):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []


def test_the_papers_recipe_can_be_translated() -> None:
    synthesis = find_recipe("comem_qwen25_vl_7b").synthesis
    assert synthesis.num_translated == 200 and len(synthesis.languages) == 9
    prompts = read_translation_prompts(synthesis.translation_prompts)
    check_languages(prompts, synthesis.languages, num_translated=synthesis.num_translated)


@pytest.mark.usefixtures("small_ray")
def test_a_served_translator_is_asked_a_cheap_question_first_and_its_cost_is_noted(
    context: Context, making: dict[str, Reference], server: str
) -> None:
    served = replace(context, served_url=f"{server}/v1", served_key="right-key")
    with pytest.raises(ValueError, match="does not answer for the model 'large'"):
        translate_qa.fn(run_of(served, generator="served:large"), *given(making))
    assert not list((context.store / "translations").glob("*/.batches"))
    made = translate_qa.fn(run_of(served, generator="served:tiny"), *given(making))
    drafts = list(read_rows(made, "draft"))
    measured = record_of(context, made)["measured"]
    assert measured["rows"] == measured["failed"] == len(drafts) >= 10  # the tiny model cannot translate
    assert measured["prompt_tokens"] == sum(row["prompt_tokens"] for row in drafts) > 0
