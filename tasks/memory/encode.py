"""Encoding: turns every knowledge item into memory once; the bank holds memories by item id.

Memories that an earlier bank has are taken over: whole shards by linking them, others row by row. A corpus that changed
by one item costs one item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial as bind

import pyarrow.parquet as pq

from comem_core.addresses.beside import read_beside, write_beside
from comem_core.prompts import read_prompt_set
from comem_core.serving.layout import BANK_STAGE, USED
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger
from tasks.memory.earlier import EarlierBanks
from tasks.memory.parts import drop_incomplete_parts, finish_bank, read_linked_ids
from tasks.rows.tables import read_items
from tasks.run import Run

BANK = Stage(name=BANK_STAGE, version="3", table="bank_entry")
REUSED = "reused_memories"


@dataclass(frozen=True, kw_only=True)
class BankKey:
    """What decides a memory besides the encoder and the items: the prompt with which an item is read, and how the
    numbers are stored."""

    prompts_sha256: str
    number_type: str


def make_bank_key(run: Run) -> BankKey:
    """Return what decides the memories of a run's bank."""
    prompts = read_prompt_set(run.recipe.training.encoder.prompts)
    number_type = run.recipe.bank.number_type or run.recipe.backbone.dtype
    return BankKey(prompts_sha256=prompts.sha256, number_type=number_type)


@stage_task(name="encode-memory")
def encode_memory(run: Run, knowledge: Reference, encoder: Reference) -> Reference:
    """Encode every item of the corpus with this encoder, unless an earlier bank of it has the item's memory."""
    key = make_bank_key(run)
    inputs = {"backbone": run.backbone, "knowledge": knowledge, "encoder": encoder}

    def make(artefact: Partial) -> None:
        earlier = EarlierBanks.find(Store.of(run.context), BANK, key, inputs)
        rows, readable = _take_over(artefact, earlier, list(read_items(knowledge)))
        if rows:
            work = bind(_make_encoding, run, knowledge, encoder, key.number_type, readable)
            make_shards(run.context, artefact, rows, work)
        finish_bank(artefact)

    def count_missing() -> tuple[int, int]:
        item_ids = list(read_items(knowledge))
        return len(item_ids), EarlierBanks.find(Store.of(run.context), BANK, key, inputs).count_missing(item_ids)

    bank = run_stage(run, BANK, key, inputs, make, expects=knowledge.num_rows, count_missing=count_missing)
    return _remember_use(run, bank)


def _remember_use(run: Run, bank: Reference) -> Reference:
    """Note that a run used this bank last, unless it is the newest anyway: programs open the last state of a corpus."""
    if get_plan() is not None:
        return bank
    store = Store.of(run.context)
    is_newest = store.list_records(BANK.name)[-1]["fingerprint"] == bank.fingerprint
    if not is_newest or read_beside(store.place, USED):
        write_beside(store.place, USED, bank.fingerprint, datetime.now(UTC).isoformat().encode())
    return bank


def _take_over(
    artefact: Partial, earlier: EarlierBanks, item_ids: Sequence[str]
) -> tuple[list[int], dict[str, list[int]]]:
    """Link whole shards of earlier banks; return the rows that are left, and where some of their memories can be read.

    A run that was interrupted after the linking keeps what it linked.
    """
    drop_incomplete_parts(artefact)
    if REUSED not in artefact.read_measured():
        artefact.measure(REUSED, earlier.link_shards(artefact, item_ids))
    linked = set(read_linked_ids(artefact))
    rows = [row for row, item_id in enumerate(item_ids) if item_id not in linked]
    readable, num_found = earlier.find_readable([item_ids[row] for row in rows])
    if num_reused := len(linked) + num_found:
        get_stage_logger().info("%d of %d rows are reused from earlier results", num_reused, len(item_ids))
        artefact.measure(REUSED, num_reused)
    return rows, readable


def _make_encoding(
    run: Run, knowledge: Reference, encoder: Reference, number_type: str, earlier: Mapping[str, Sequence[int]]
) -> Work:
    """Enter a worker; only there torch is imported."""
    from tasks.memory.encoding import Encoding

    return Encoding(run, knowledge, encoder, number_type=number_type, earlier=earlier)


def read_encode_seconds(reference: Reference) -> dict[str, float]:
    """Return by item id the seconds that encoding took (an equal share of the batch's time)."""
    tables = [
        pq.read_table(path, columns=["item_id", "seconds"]) for path in sorted(reference.folder.glob("part-*.parquet"))
    ]
    return {row["item_id"]: row["seconds"] for table in tables for row in table.to_pylist()}
