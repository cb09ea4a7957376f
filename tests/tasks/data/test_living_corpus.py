"""A corpus that changes: what earlier results have is not made again, and the results are those of an empty store."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.items import KnowledgeItem
from comem_core.recipes import find_recipe
from comem_core.serving.layout import Record
from comem_core.worlds.countries.world import load_knowledge_items
from tasks.data.filter import filter_qa
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.questions import pose_questions
from tasks.data.retrieve import retrieve
from tasks.data.synthesize import judge_qa, synthesize_qa
from tasks.data.translate import translate_qa
from tasks.engine.context import Context
from tasks.engine.ledger import measure_rates
from tasks.engine.partial import is_taken_over
from tasks.engine.plan import start_planning
from tasks.engine.store import Reference, Store
from tasks.rows.tables import make_item_table
from tasks.run import Run
from tasks.sources import find_backbone
from tests import dictionary_translator
from tests.dictionary_translator import DictionaryTranslator
from warehouse.comparison import compare_stores
from warehouse.connection import open_warehouse

pytestmark = pytest.mark.usefixtures("small_ray")
ITEMS = load_knowledge_items()[:45]  # nine countries in five languages
REUSED = ("index", "asked", "drafts", "verdicts", "translations")


@pytest.fixture(autouse=True)
def travelling_translator() -> Iterator[None]:
    """Workers do not see the tests folder, so the class of the translator travels whole."""
    cloudpickle.register_pickle_by_value(dictionary_translator)
    yield
    cloudpickle.unregister_pickle_by_value(dictionary_translator)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the stages made of a corpus."""

    store: Store
    references: dict[str, Reference]

    def record(self, stage: str) -> Record:
        record = self.store.find(stage, self.references[stage].fingerprint)
        assert record is not None
        return record

    def list_rows(self, stage: str) -> list[str]:
        """The rows of all tables in one order, without times; scores are rounded, because a picture's embedding depends
        on its batch in the last bits."""
        record, rows = self.record(stage), []
        for shard in record["shards"]:
            if shard["file"].endswith(".parquet"):
                rows += pq.read_table(self.references[stage].folder / shard["file"]).to_pylist()
        for row in rows:
            row.pop("seconds", None)
            for name in {"scores", "retrieval_scores"} & row.keys():
                row[name] = [round(score, 4) for score in row[name]]
        return sorted(map(repr, rows))

    def read_vectors(self) -> dict[str, np.ndarray]:
        table = pa.concat_tables(map(pq.read_table, self.references["index"].folder.glob("image-*.parquet")))
        raw = (np.frombuffer(each, "<f4") for each in table["embedding"].to_pylist())
        return dict(zip(table["key"].to_pylist(), raw, strict=True))

    def read_made(self, stage: str) -> pa.Table:
        """The rows that were not taken over."""
        paths = sorted(self.references[stage].folder.glob("part-*.parquet"))
        return pa.concat_tables(pq.read_table(path) for path in paths if not is_taken_over(path.name))

    def count_made(self, stage: str) -> int:
        """The number of rows of any table that were not taken over."""
        shards = [shard for shard in self.record(stage)["shards"] if not shard["file"].startswith("questions")]
        return sum(shard["rows"] for shard in shards if not is_taken_over(shard["file"]))


def run_on(context: Context, items: Sequence[KnowledgeItem], **synthesis: Any) -> Run:
    corpus = context.root.parent / f"corpus-{hash(tuple(item.item_id for item in items))}"
    names = ["image", "text", "language", "source", "licence", "title", "entity_id"]
    if not corpus.exists():  # a file that is written again is another corpus
        corpus.mkdir()
        pq.write_table(make_item_table(items).select(names), corpus / "items.parquet")
    recipe = find_recipe("tiny_cpu")
    changes: dict[str, Any] = {"num_seed_questions": 6, "num_asked_items": 99, "num_kinds": 1, "num_translated": 8}
    changes |= {"languages": ("es", "ru"), **synthesis}
    recipe = replace(
        recipe,
        knowledge=replace(recipe.knowledge, corpus=str(corpus)),
        synthesis=replace(recipe.synthesis, **changes),
        filters=replace(recipe.filters, min_metric_score=None, must_be_grounded=False, must_be_consistent=False),
    )
    return Run(
        run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=find_backbone(recipe.backbone)
    )


def make_all(run: Run, translator: Callable[[Run], Any] = lambda run: DictionaryTranslator(name="tiny")) -> Made:
    knowledge = ingest_knowledge.fn(run)
    index, questions = build_index.fn(run, knowledge), pose_questions.fn(run, knowledge)
    retrieved = retrieve.fn(run, index, questions)
    drafts = synthesize_qa.fn(run, knowledge, questions, retrieved)
    verdicts = judge_qa.fn(run, knowledge, questions, retrieved, drafts)
    kept = filter_qa.fn(run, questions, drafts, verdicts)
    translations = translate_qa.fn(run, questions, drafts, kept, translator)
    store = Store.of(run.context)
    record = store.find("questions", questions.fingerprint)
    name = record["inputs"]["asked"] if record else ""  # nothing is made of what is only planned
    asked = Reference(stage="asked", fingerprint=name, uri=str(store.find_path("asked", name)), num_rows=0)
    made = [index, asked, questions, retrieved, drafts, verdicts, kept, translations]
    return Made(store=store, references={each.stage: each for each in made})


def change(items: Sequence[KnowledgeItem]) -> list[KnowledgeItem]:
    """Another corpus: five items more, one with another text, one gone, and two that changed places."""
    changed = [*items[:45], *load_knowledge_items()[45:50]]
    changed[7] = replace(changed[7], text=changed[7].text.replace(": ", " - ", 1))
    del changed[20]
    changed[0], changed[30] = changed[30], changed[0]
    return changed


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("living")


@pytest.fixture(scope="module")
def living(roots: Path, make_context: Callable[..., Context]) -> Context:
    """A store with what was made of a corpus before it changed, and after it changed."""
    return make_context(roots / "living", rows_per_shard=32)


@pytest.fixture(scope="module")
def before(living: Context) -> Made:
    return make_all(run_on(living, ITEMS))


@pytest.fixture(scope="module")
def after(living: Context, before: Made) -> Made:
    return make_all(run_on(living, change(ITEMS)))


@pytest.fixture(scope="module")
def anew(roots: Path, make_context: Callable[..., Context]) -> Made:
    """What is made of the changed corpus in an empty store."""
    return make_all(run_on(make_context(roots / "empty", rows_per_shard=32), change(ITEMS)))


@pytest.mark.parametrize("stage", ["asked", "questions", "retrieval", "drafts", "verdicts", "samples", "translations"])
def test_what_is_reused_and_made_is_what_an_empty_store_gets(after: Made, anew: Made, stage: str) -> None:
    assert after.record(stage)["num_rows"] == anew.record(stage)["num_rows"] > 0
    assert after.list_rows(stage) == anew.list_rows(stage)


def test_a_result_with_reused_rows_is_the_same_as_one_that_is_rebuilt_from_nothing(after: Made, anew: Made) -> None:
    rebuilt = list(compare_stores(after.store.folder, anew.store.folder))
    assert {each.stage for each in rebuilt} >= set(REUSED)
    assert [each for each in rebuilt if not each.same] == []


def test_an_index_has_the_vectors_of_now_whether_reused_or_made(before: Made, after: Made, anew: Made) -> None:
    earlier, vectors, expected = (each.read_vectors() for each in (before, after, anew))
    assert vectors.keys() == expected.keys() and vectors.keys() - earlier.keys() and vectors.keys() & earlier.keys()
    for key, vector in expected.items():
        assert vectors[key] == pytest.approx(vector, abs=1e-6)
        assert key not in earlier or np.array_equal(vectors[key], earlier[key])
    folders = [each.references["index"].folder / "image" for each in (after, anew)]
    ids, merged = ([np.load(folder / name) for folder in folders] for name in ("item_ids.npy", "vectors.npy"))
    assert np.array_equal(*ids) and np.allclose(*merged, atol=1e-6)


def test_only_what_is_new_is_made_and_costs(before: Made, after: Made, anew: Made) -> None:
    counts = [{stage: each.count_made(stage) for stage in REUSED} for each in (before, after, anew)]
    assert counts[1]["index"] == 1  # one more flag: a mended text leaves the item's picture as it is
    assert all(0 < counts[1][stage] < counts[2][stage] / 2 for stage in REUSED)
    for stage in ("asked", "drafts", "verdicts"):
        measured, table = after.record(stage)["measured"], after.read_made(stage)
        assert measured["rows"] == len(table) == counts[1][stage]
        assert measured["prompt_tokens"] == sum(table["prompt_tokens"].to_pylist())
    rates = measure_rates(after.store, "drafts", "x", before.record("drafts")["inputs"], workers=1)
    assert rates is not None and rates.source.startswith(f"the {counts[0]['drafts']} rows of")


def test_every_row_of_a_draft_leads_to_its_items_whether_reused_or_made(living: Context, after: Made) -> None:
    with open_warehouse(living.warehouse, read_only=True) as con:
        for table, stage in (("draft", "drafts"), ("verdict", "verdicts"), ("draft", "translations")):
            name, rows = after.references[stage].fingerprint, after.record(stage)["num_rows"]
            found = con.execute(f"SELECT count(*) FROM {table} WHERE artefact = ?", [name]).fetchall()
            assert found == [(rows,)]
        [(linked,)] = con.execute(
            "SELECT count(DISTINCT sample_id) FROM draft_item WHERE artefact = ?",
            [after.references["drafts"].fingerprint],
        ).fetchall()
    assert linked == after.record("drafts")["num_rows"]


def test_a_plan_says_how_many_rows_are_new_or_that_it_cannot_know(living: Context, after: Made) -> None:
    with start_planning() as plan:
        make_all(run_on(living, change(ITEMS), num_kinds=2))
    planned = {each.stage: each for each in plan.stages}
    asked = planned["asked"]
    known = after.record("asked")["num_rows"]
    assert asked.rows == known + (asked.missing or 0) > known
    assert asked.reason.endswith(f"; {known} of {asked.rows} rows are reused from earlier results")
    drafts = planned["drafts"]
    assert drafts.at_most and drafts.missing == drafts.rows
    assert drafts.reason.endswith("; rows that earlier results have are reused; their number is not known yet")
    lines = {line["stage"]: line for line in plan.list_lines()}
    assert lines["drafts"]["to make"] == f"at most {drafts.rows}" and lines["asked"]["to make"] == str(asked.missing)
