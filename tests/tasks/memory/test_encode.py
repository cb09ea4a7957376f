"""The bank of a corpus that changes: what an earlier bank has is not encoded again, and the result is as if new."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import comem_core as comem
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.recipe import BankRecipe
from tasks.data.ingest import KNOWLEDGE
from tasks.engine.context import Context
from tasks.engine.plan import start_planning
from tasks.engine.store import Reference, Store
from tasks.memory.encode import BANK, encode_memory, make_bank_key
from tasks.memory.encoding import Encoding
from tasks.memory.parts import MemoryPart, list_parts
from tasks.rows.tables import make_item_table
from tasks.run import Run
from tests.tasks.evaluation.finished_store import ITEMS, make_run, put, put_encoder
from tests.written import stamp_files

pytestmark = pytest.mark.usefixtures("small_ray")
OTHERS = [replace(item, text=f"{item.text} Population: {place}.") for place, item in enumerate(ITEMS[:8])]


@pytest.fixture
def run(make_context: Callable[..., Context], tmp_path: Path) -> Run:
    return start(make_context, tmp_path / ".comem")


@pytest.fixture
def encoder(run: Run) -> Reference:
    return put_encoder(run, "trained", find_encoder_folder("tiny-encoder"))


@pytest.fixture(scope="module")
def lasting_run(make_context: Callable[..., Context], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return start(make_context, tmp_path_factory.mktemp("lasting") / ".comem")


@pytest.fixture(scope="module")
def lasting_encoder(lasting_run: Run) -> Reference:
    return put_encoder(lasting_run, "trained", find_encoder_folder("tiny-encoder"))


@pytest.fixture(scope="module")
def first(lasting_run: Run, lasting_encoder: Reference) -> Reference:
    return encode(lasting_run, ITEMS[:32], lasting_encoder)


def start(make_context: Callable[..., Context], root: Path) -> Run:
    root.mkdir()
    return make_run(make_context(root, rows_per_shard=8, batch_size=4, num_actors=1))


@cache
def read_expected() -> comem.Bank:
    return comem.MemoryEncoder.from_pretrained("tiny-encoder").encode([*ITEMS, *OTHERS], grid=None)


def encode(run: Run, items: Sequence[KnowledgeItem], encoder: Reference) -> Reference:
    knowledge = put(run, KNOWLEDGE, " ".join(item.item_id for item in items), make_item_table(items))
    return encode_memory.fn(run, knowledge, encoder)


def count_reused(run: Run, bank: Reference) -> int:
    record = Store.of(run.context).find(BANK.name, bank.fingerprint)
    assert record is not None
    return sum(pq.read_metadata(path).num_rows for path in list_parts(bank.folder, linked=True))


def check_equal(bank: Reference, items: Sequence[KnowledgeItem]) -> None:
    """Compare with the memories that the library makes of these items: 8 bit, within a step of rounding."""
    opened = comem.Bank.load(bank.folder)
    item_ids = [item.item_id for item in items]
    assert sorted(opened) == sorted(item_ids) and bank.num_rows == len(items)
    opened.verify()
    expected = read_expected().of(item_ids)
    step = expected.abs().amax(-1, keepdim=True) / 127
    assert ((opened.of(item_ids) - expected).abs() <= step * 0.51).all()
    rows = {row["item_id"]: row["row"] for path in list_parts(bank.folder) for row in pq.read_table(path).to_pylist()}
    assert rows == {item_id: row for row, item_id in enumerate(item_ids)}


CHANGES = {
    "one item more": [*ITEMS[:32], OTHERS[0]],
    "one item more, in the middle": [*ITEMS[:5], OTHERS[0], *ITEMS[5:32]],
    "an item removed": [*ITEMS[:11], *ITEMS[12:32]],
    "a text mended": [*ITEMS[:11], OTHERS[3], *ITEMS[12:32]],
    "another order": [*ITEMS[31::-1]],
    "half of it": [*ITEMS[:16]],
    "nothing in common": [*ITEMS[40:48]],
    "much more": [*ITEMS[:32], *OTHERS, *ITEMS[40:60]],
}


@pytest.mark.parametrize("items", CHANGES.values(), ids=CHANGES)
def test_a_changed_corpus_has_the_bank_that_a_fresh_run_makes(
    items: Sequence[KnowledgeItem], lasting_run: Run, lasting_encoder: Reference, first: Reference
) -> None:
    again = encode(lasting_run, items, lasting_encoder)
    check_equal(again, items)
    common = {item.item_id for item in ITEMS[:32]} & {item.item_id for item in items}
    one, other = comem.Bank.load(first.folder), comem.Bank.load(again.folder)
    assert torch.equal(one.of(sorted(common)), other.of(sorted(common)))
    seconds = [
        {row["item_id"]: row["seconds"] for path in list_parts(each.folder) for row in pq.read_table(path).to_pylist()}
        for each in (first, again)
    ]
    assert all(seconds[0][item_id] == seconds[1][item_id] for item_id in common)


def test_only_new_items_are_encoded_and_whole_shards_are_linked(
    run: Run, encoder: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    first = encode(run, ITEMS[:32], encoder)
    with caplog.at_level(logging.INFO):
        again = encode(run, [*ITEMS[:10], *ITEMS[11:32], *OTHERS[:3]], encoder)
    assert "bank: 31 of 34 rows are reused from earlier results" in caplog.text
    assert count_reused(run, again) == 24, "of four shards of eight, one lost an item"
    same = {*stamp_files(first.folder, "memory-*").values()} & {*stamp_files(again.folder, "memory-*").values()}
    assert len(same) == 3
    shutil.rmtree(first.folder)
    check_equal(again, [*ITEMS[:10], *ITEMS[11:32], *OTHERS[:3]])


def test_a_plan_tells_how_many_memories_would_be_made(run: Run, encoder: Reference) -> None:
    encode(run, ITEMS[:16], encoder)
    knowledge = put(run, KNOWLEDGE, "more", make_item_table([*ITEMS[2:16], *OTHERS[:3]]))
    with start_planning() as plan:
        encode_memory.fn(run, knowledge, encoder)
    [planned] = plan.stages
    assert (planned.rows, planned.missing) == (17, 3)
    assert planned.reason.endswith("14 of 17 rows are reused from earlier results")


def test_what_is_gone_is_in_no_file_of_the_new_bank(run: Run, encoder: Reference) -> None:
    whole = replace(run, recipe=replace(run.recipe, bank=BankRecipe(number_type="float32")))
    first = encode(whole, ITEMS[:16], encoder)
    gone = comem.Bank.load(first.folder).of([ITEMS[3].item_id]).numpy().tobytes()
    again = encode(whole, [*ITEMS[:3], *ITEMS[4:16]], encoder)
    assert any(gone in path.read_bytes() for path in first.folder.glob("memory-*"))
    assert not any(gone in path.read_bytes() for path in again.folder.glob("memory-*"))


def test_a_bank_of_another_encoder_prompt_or_number_type_is_not_reused(run: Run, encoder: Reference) -> None:
    encode(run, ITEMS[:16], encoder)
    other = put_encoder(run, "another", find_encoder_folder("tiny-encoder"))
    assert count_reused(run, encode(run, [*ITEMS[:16], OTHERS[0]], other)) == 0
    half = replace(run, recipe=replace(run.recipe, bank=BankRecipe(number_type="bfloat16")))
    bank = encode(half, [*ITEMS[:16], OTHERS[0]], encoder)
    assert count_reused(run, bank) == 0
    assert comem.Bank.load(bank.folder).dtype == torch.bfloat16
    own = replace(run, recipe=replace(run.recipe, bank=BankRecipe(number_type=None)))
    assert make_bank_key(own).number_type == "float32"


@pytest.mark.parametrize("pattern", ["memory-*", "part-*"])
def test_a_shard_that_is_damaged_is_not_passed_on(pattern: str, run: Run, encoder: Reference) -> None:
    first = encode(run, ITEMS[:16], encoder)
    path = min(first.folder.glob(pattern))
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 64
    path.write_bytes(raw)
    again = encode(run, [*ITEMS[:16], OTHERS[0]], encoder)
    assert count_reused(run, again) == 8
    check_equal(again, [*ITEMS[:16], OTHERS[0]])


def test_a_bank_whose_vectors_were_damaged_is_mended_by_the_same_command(run: Run, encoder: Reference) -> None:
    bank = encode(run, ITEMS[:16], encoder)
    first, *others = sorted(bank.folder.glob("memory-*"))
    first.write_bytes(first.read_bytes()[:-1])
    damaged = stamp_files(bank.folder, "memory-*")
    assert encode(run, ITEMS[:16], encoder) == bank
    check_equal(bank, ITEMS[:16])
    stayed = {name for name, _ in damaged.items() & stamp_files(bank.folder, "memory-*").items()}
    assert stayed == {path.name for path in others}


@pytest.mark.parametrize("pattern", ["memory-part-linked-00000*", "part-linked-00000*", "memory-part-0*", "bank.json"])
def test_a_bank_with_linked_shards_is_mended_whatever_was_lost(pattern: str, run: Run, encoder: Reference) -> None:
    encode(run, ITEMS[:16], encoder)
    items = [OTHERS[0], *ITEMS[:16], *OTHERS[1:5]]
    bank = encode(run, items, encoder)
    [path] = bank.folder.glob(pattern)
    path.unlink()
    assert encode(run, items, encoder) == bank
    check_equal(bank, items)


def test_many_changes_one_after_another_keep_the_bank_equal_and_its_shards_few(run: Run, encoder: Reference) -> None:
    generator, items = np.random.default_rng(0), list(ITEMS[:24])
    pool = [*ITEMS, *OTHERS]
    bank = encode(run, items, encoder)
    for _ in range(10):
        items.pop(generator.integers(len(items)))
        left = [item for item in pool if item not in items]
        items.insert(generator.integers(len(items)), left[generator.integers(len(left))])
        bank = encode(run, items, encoder)
    check_equal(bank, items)
    assert max(MemoryPart.read(path).shard.rows for path in list_parts(bank.folder)) == 8


def test_an_interrupted_run_keeps_what_it_linked_and_encodes_the_rest(
    run: Run, encoder: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(run, ITEMS[:24], encoder)
    items = [*ITEMS[:24], *OTHERS]
    knowledge = put(run, KNOWLEDGE, "interrupted", make_item_table(items))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the power is gone")

    for place in ("tasks.memory.encode.make_shards", "tasks.memory.encode.finish_bank"):
        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            with pytest.raises(RuntimeError, match="power is gone"):
                encode_memory.fn(run, knowledge, encoder)
    check_equal(encode_memory.fn(run, knowledge, encoder), items)


def test_a_bank_whose_file_was_damaged_is_made_byte_by_byte_as_before(run: Run, encoder: Reference) -> None:
    bank = encode(run, ITEMS[:16], encoder)
    store = Store.of(run.context)
    before = store.find(bank.stage, bank.fingerprint)
    vectors = next(bank.folder.glob("memory-*"))
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"?")
    assert encode(run, ITEMS[:16], encoder) == bank
    after = store.find(bank.stage, bank.fingerprint)
    assert before and after
    kept, again = ([each for each in record["shards"] if not each["rows"]] for record in (before, after))
    assert again == kept and len(kept) > 4  # all but the rows, which have the seconds they took


def test_reading_memories_of_earlier_banks_needs_no_model(run: Run, encoder: Reference) -> None:
    first = encode(run, ITEMS[:16], encoder)
    knowledge = put(run, KNOWLEDGE, "fewer", make_item_table(ITEMS[3:12]))
    work = Encoding(run, knowledge, encoder, number_type="int8", earlier={first.uri: [0, 1]})
    rows = work(range(9))
    assert rows["item_id"].to_pylist() == [item.item_id for item in ITEMS[3:12]]
    assert "_trained" not in vars(work)
    assert Encoding(run, knowledge, encoder, number_type="int8")._trained.encoder_id == work._bank.encoder_id
