"""A memory as one folder, in the layout of a model repository of the Hub; everything but the backbone is in it.

`encoder.safetensors` and `encoder.json`, `bank/` (memories), `items.parquet` (texts, sources and licences; pictures on
request), `index/` (what finds items), `README.md` (a card made from records), and on request `training_set/`.
`memory.json` is written last: it marks completeness.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.evaluation.held_out.gate import Gate
from comem_core.knowledge.searching import Searcher
from comem_core.knowledge.stored_items import FACTS, ITEM_COLUMNS, StoredItems
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.bank import Bank
from comem_core.serving.answers import SearchSettings
from comem_core.serving.card import write_card
from comem_core.serving.layout import CORPUS_ADDRESS, INDEX_STAGE, RECORD
from comem_core.serving.loading import Loading, load_encoder
from comem_core.serving.memory import Memory, MemorySource
from comem_core.serving.searching import open_search
from comem_core.stated_fields import read_fields, write_fields

MEMORY_FILE, ITEMS_FILE, CARD_FILE = "memory.json", "items.parquet", "README.md"
BANK_FOLDER, INDEX_FOLDER, TRAINING_SET_FOLDER = "bank", "index", "training_set"
FORMAT = 2
BANKS = {1: "bank.safetensors", FORMAT: BANK_FOLDER}
"""Where the bank is in each format."""
ROWS_OF_A_GROUP = 64
SCHEMA = pa.schema([
    (name, pa.binary() if name == "image" else pa.string()) for name in dict.fromkeys((*FACTS, *ITEM_COLUMNS))
])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SavedMemory:
    """The content of `memory.json`: what was saved, how it searches, and the records of what it was made from.

    `sizes` has the bytes of each file, to notice one that is cut off. `gates` has the memory's gates, by how many items
    are shown.
    """

    format: int
    version: str
    encoder_id: str
    by: str
    text_weight: float
    settings: dict[str, Any]
    pictures: bool
    records: dict[str, Any]
    sizes: dict[str, int]
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)


def save_memory(memory: Memory, folder: Path, *, pictures: bool, training_set: bool) -> Path:
    """Write a memory into a folder (see `Memory.save`)."""
    _refuse_other_files(folder)
    if memory.withdrawn:
        raise ValueError(
            f"{len(memory.withdrawn)} items of this memory were withdrawn, and its index still has their embeddings; "
            "run rebuild-memory, which leaves them out, open the memory again and save that"
        )
    if pictures and not memory.has_pictures:
        raise ValueError(
            "the items' pictures were not saved with this memory; open the run's store, or leave pictures out"
        )
    samples = _find_training_set(memory) if training_set else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MEMORY_FILE).unlink(missing_ok=True)
    described = memory.encoder.save(folder)
    memory.bank.save(folder / BANK_FOLDER)
    _write_items(memory, folder / ITEMS_FILE, pictures=pictures)
    for name in (INDEX_FOLDER, TRAINING_SET_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    for side, index in memory.searcher.indexes.items():
        (folder / INDEX_FOLDER / side).mkdir(parents=True)
        index.save(folder / INDEX_FOLDER / side)
    if samples is not None:
        shutil.copytree(samples, folder / TRAINING_SET_FOLDER, ignore=shutil.ignore_patterns(RECORD))
    write_card(memory, described, folder / CARD_FILE, with_training_set=samples is not None)
    saved = SavedMemory(
        format=FORMAT,
        version=memory.version,
        encoder_id=memory.encoder.encoder_id,
        by=memory.searcher.by,
        text_weight=memory.searcher.text_weight,
        settings=asdict(memory.settings),
        pictures=pictures,
        records={stage: _leave_out_places(record) for stage, record in memory.made_from.items()},
        gates={str(k): asdict(gate) for k, gate in memory.gates.items()},
        sizes={path.relative_to(folder).as_posix(): path.stat().st_size for path in _list_files(folder)},
    )
    write_fields(folder / MEMORY_FILE, saved)
    return folder


def _leave_out_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without paths of this machine: others get the folder."""
    measured = {name: value for name, value in record.get("measured", {}).items() if name != CORPUS_ADDRESS}
    return dict(record) | {"uri": "", "measured": measured}


def _list_files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / BANK_FOLDER, folder / INDEX_FOLDER):
        pattern = "*" if place == folder else "**/*"
        found = (path for path in sorted(place.glob(pattern)) if path.is_file() and not path.name.startswith("."))
        yield from (path for path in found if path.name != CARD_FILE)


def read_saved(folder: Path) -> SavedMemory:
    """Read `memory.json`. Raises ValueError for a damaged file, or one that another version of this library wrote."""
    saved = SavedMemory(**read_fields(folder / MEMORY_FILE, SavedMemory))
    if saved.format not in BANKS:
        raise ValueError(
            f"{folder / MEMORY_FILE} has format {saved.format}, expected {FORMAT}; install the version of comem that "
            "saved it, or save it again"
        )
    return saved


def open_folder(folder: Path, loading: Loading, *, source: MemorySource, previous: Memory | None = None) -> Memory:
    """Open what `save_memory` wrote.

    Raises:
        ValueError: a file is missing, damaged or of another encoder, or the backbone is not on this machine.
    """
    saved = read_saved(folder)
    for name, size in saved.sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            how = "is missing" if found is None else f"has {found} bytes, expected {size}"
            raise ValueError(f"{folder / name} {how}; copy the folder again")
    same = previous is not None and previous.encoder.encoder_id == saved.encoder_id
    encoder = previous.encoder if previous is not None and same else load_encoder(folder, loading)
    index, retrieval = saved.records[INDEX_STAGE], None
    searcher, _ = open_search(folder / INDEX_FOLDER, index, retrieval, encoder.backbone, named=loading.embedders)
    return Memory(
        encoder,
        Bank.load(folder / BANKS[saved.format]),
        StoredItems(folder, shards=ITEMS_FILE),
        Searcher(saved.by, searcher.indexes, searcher.embedders, saved.text_weight),
        settings=SearchSettings(**saved.settings),
        version=saved.version,
        made_from=saved.records,
        source=source,
        limits=loading.limits,
        has_pictures=saved.pictures,
        gates={int(k): Gate(**fields) for k, fields in saved.gates.items()},
    )


def _refuse_other_files(folder: Path) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file; expected a folder to save into")
    if not folder.is_dir() or (folder / MEMORY_FILE).is_file():
        return
    if other := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise ValueError(
            f"{folder} holds other files ({', '.join(other[:5])}) and no {MEMORY_FILE}; name a new folder, or one that "
            "a memory was saved into"
        )


def _find_training_set(memory: Memory) -> Path:
    found = memory.source.fetch_training_set() if memory.source is not None else None
    if found is None:
        raise ValueError(
            "the training set of this memory is not known: only the store of the run that trained the encoder has it; "
            "leave training_set out"
        )
    return found


def _write_items(memory: Memory, path: Path, *, pictures: bool) -> None:
    """Write the items of the bank and of the index, a row group at a time."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in cut_into_batches((each for each in memory.items if each in memory.bank), ROWS_OF_A_GROUP):
            items = [memory.items[item_id] for item_id in batch]
            columns = {name: [getattr(item, name) for item in items] for name in (*ITEM_COLUMNS, "image_id")}
            columns["item_id"] = batch
            if not pictures:
                columns["image"] = [None] * len(items)
            writer.write_table(pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA))
