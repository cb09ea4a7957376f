"""Turns pieces of a corpus into shards of items, row group by row group, and then removes duplicates.

A piece becomes `part-00000.parquet`. If it has bad rows, `dropped-00000.parquet` is written first, so a part is there
only when its piece is done. Duplicates are found from ids and hashes when all parts are there, so the result depends
neither on the number of workers nor on interruptions. Independent of Prefect and Ray.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.addresses.copies import open_folder
from comem_core.knowledge.corpora import (
    BadRow,
    Corpus,
    FoundItem,
    Piece,
    ReadingOptions,
    open_corpus,
)
from comem_core.knowledge.duplicates import Duplicates, find_equal_items, find_near_items
from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.preview import UncertainLanguages
from comem_core.serving.layout import Record
from tasks.data.known_items import SOURCES, EarlierArtefact, KnownItems, PieceSources
from tasks.engine.partial import ROWS_OF, Partial
from tasks.rows.tables import ITEM_SCHEMA, ROWS_OF_A_GROUP, make_found_item_table
from warehouse.schemas import make_schema

BYTES_OF_A_GROUP = 16_000_000
TEXTS_OF_A_PICTURE = 8  # as many items without a picture count as one with a picture
DUPLICATES, DROPPED, FILES = "duplicates", "dropped-rows", "corpus-files"
UNCERTAIN = "uncertain-languages"  # also the name under which the artefact's record has them
EQUAL = ("duplicate_id", "the same image, text and language")
NEAR = ("near_duplicate", "the same text and language, and nearly the same image,")
DROPPED_SCHEMA = make_schema("dropped_row").with_metadata({ROWS_OF: b"dropped_row"})
DUPLICATE_SCHEMA = DROPPED_SCHEMA.append(pa.field("part", pa.int32()))
DESCRIBED_AT_ONCE = 4096
PLACE, REASON = ["file", "row"], ["reason", "detail"]


@dataclass(frozen=True)
class PieceWriter:
    """Runs in a worker: reads pieces of a corpus and writes their shards."""

    corpus: str
    reading: ReadingOptions
    artefact: Partial
    earlier: tuple[EarlierArtefact, ...] = ()

    @cached_property
    def opened(self) -> Corpus:
        return open_corpus(self.corpus, reading=self.reading)

    @cached_property
    def known(self) -> KnownItems:
        return KnownItems(self.earlier)

    @cached_property
    def counts(self) -> Counter[bool]:
        """How many rows were read so far, by whether they are as they were."""
        return Counter()

    def __call__(self, numbered: tuple[int, Piece]) -> int:
        """Write the shards of a numbered piece, and return its number of items."""
        number, piece = numbered
        bad: list[BadRow] = []
        with self.artefact.open_shard(name_part_shard(number), ITEM_SCHEMA) as writer:
            num_items = self._write_items(writer, number, piece, bad)
            if bad:
                with self.artefact.open_shard(_name_dropped_shard(number), DROPPED_SCHEMA) as dropped:
                    dropped.write_table(pa.Table.from_pylist([vars(row) for row in bad], schema=DROPPED_SCHEMA))
        return num_items

    def _write_items(self, writer: pq.ParquetWriter, number: int, piece: Piece, bad: list[BadRow]) -> int:
        waiting: list[FoundItem] = []
        num_items = num_bytes = filled = 0
        uncertain, sources = UncertainLanguages(), PieceSources()
        for row in self.opened.read(piece, self.known):
            self.counts[isinstance(row, FoundItem) and row.as_it_was] += 1
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            uncertain.add(row)
            sources.add(row)
            waiting.append(row)
            num_items, num_bytes = num_items + 1, num_bytes + len(row.item.image or b"") + len(row.item.text)
            filled += 1 if row.item.image is None else TEXTS_OF_A_PICTURE
            if filled >= ROWS_OF_A_GROUP * TEXTS_OF_A_PICTURE or num_bytes >= BYTES_OF_A_GROUP:
                writer.write_table(make_found_item_table(waiting))
                waiting, num_bytes, filled = [], 0, 0
        if waiting:
            writer.write_table(make_found_item_table(waiting))
        if uncertain.counts:
            with self.artefact.open_file(f"{UNCERTAIN}-{number:05d}.json") as path:
                path.write_text(json.dumps(asdict(uncertain)), encoding="utf-8")
        sources.write(self.artefact, number)
        return num_items


def name_part_shard(number: int) -> str:
    """Name the shard of a piece, so that the order of names is the order of the corpus."""
    return f"part-{number:05d}"


def take_out_duplicates(artefact: Partial, *, near_duplicate_bits: int | None) -> None:
    """Remove duplicate items from the parts, and write `dropped-rows`: every bad row, in the corpus's order.

    It can be killed at any point and called again, because the list of duplicates is written before a part changes.
    Where `dropped-rows` is there already, parts may have been read again since, for they were damaged.
    """
    parts = sorted(artefact.folder.glob("part-*.parquet"))
    if DROPPED in artefact.list_finished():
        _take_out_again(artefact, parts)
    else:
        if DUPLICATES not in artefact.list_finished():
            found = _find_duplicates(parts, near_duplicate_bits)
            with artefact.open_shard(DUPLICATES, DUPLICATE_SCHEMA) as writer:
                for table in _describe_duplicates(parts, found):
                    writer.write_table(table)
        again = artefact.folder / f"{DUPLICATES}.parquet"
        repeating = np.unique(pq.read_table(again, columns=["part"])["part"].to_numpy())
        for number in repeating:
            _remove_duplicates(artefact, parts[number], _read_part_duplicates(again, int(number)))
        _write_dropped(artefact, len(parts), again, repeating)
    artefact.remove(f"{DUPLICATES}.parquet", *(path.name for path in artefact.folder.glob("dropped-[0-9]*.parquet")))


def _take_out_again(artefact: Partial, parts: Sequence[Path]) -> None:
    """Remove the duplicates that `dropped-rows` lists from the parts that have them."""
    dropped = pq.read_table(artefact.folder / f"{DROPPED}.parquet", columns=[*PLACE, "reason"])
    listed = dropped.filter(pc.field("reason").isin([EQUAL[0], NEAR[0]])).select(PLACE)
    for path in parts:
        places = pq.read_table(path, columns=PLACE).cast(listed.schema)
        _remove_duplicates(artefact, path, places.join(listed, keys=PLACE, join_type="left semi"))


def leave_out_items(artefact: Partial, whole: Record, item_ids: Sequence[str], reason: tuple[str, str]) -> None:
    """Take over the parts of another artefact without some of its items; `dropped-rows` lists these with the reason.

    A part that has none of them is taken as it is.
    """
    folder, gone_N = open_folder(whole["uri"]), np.sort(_parse_ids(item_ids))
    with artefact.open_shard(DROPPED, DROPPED_SCHEMA) as dropped:
        for shard in whole["shards"]:
            path = folder / shard["file"]
            if not path.match("part-*.parquet"):
                continue
            stays = ~np.isin(_read_ids(path), gone_N)
            if stays.all():
                artefact.take_file(shard, whole["uri"], path.name)
            else:
                _write_some(artefact, path, stays)
                places = pq.read_table(path, columns=PLACE).filter(pa.array(~stays)).to_pylist()
                rows = [
                    place | {"file": place["file"] or ""} | dict(zip(REASON, reason, strict=True)) for place in places
                ]
                dropped.write_table(pa.Table.from_pylist(rows, schema=DROPPED_SCHEMA))


def _write_some(artefact: Partial, path: Path, stays: np.ndarray) -> None:
    """Write a part again with some of its rows, row group by row group."""
    part, start = pq.ParquetFile(path), 0
    with artefact.open_shard(path.stem, ITEM_SCHEMA) as writer:
        for group in range(part.num_row_groups):
            table = part.read_row_group(group)
            kept = stays[start : (start := start + table.num_rows)]
            if kept.any():
                writer.write_table(table.filter(pa.array(kept)))


def forget_parts_without_dropped_rows(artefact: Partial) -> None:
    """Remove the parts of a damaged artefact whose `dropped-rows` is lost: nothing else says what they lack.

    An empty one is never kept (`finish`). What is made after it goes last, so that this can be killed and called again.
    """
    finished = artefact.list_finished()
    if DROPPED in finished or not finished & {FILES, SOURCES}:
        return
    if FILES in finished:
        counts = pq.read_table(artefact.folder / f"{FILES}.parquet", columns=["num_duplicates", "num_bad"])
        if not any(any(column.to_pylist()) for column in counts.columns):
            return
    artefact.remove(*(path.name for path in artefact.folder.glob("part-*.parquet")), f"{FILES}.parquet")
    artefact.remove(SOURCES)


def _find_duplicates(parts: Sequence[Path], near_duplicate_bits: int | None) -> Duplicates:
    ids_N = np.concatenate([np.zeros(0, np.uint64), *map(_read_ids, parts)])
    equal = find_equal_items(ids_N)
    if near_duplicate_bits is None or not len(ids_N):
        return equal
    stays_N = np.ones(len(ids_N), dtype=bool)
    stays_N[equal.again] = False
    words_N, hashes_N2, pictured_N = map(np.concatenate, zip(*map(_read_words_and_hashes, parts), strict=True))
    places = np.flatnonzero(stays_N & pictured_N)
    return equal.merge(find_near_items(words_N[places], hashes_N2[places], places, max_bits=near_duplicate_bits))


def _read_ids(path: Path) -> np.ndarray:
    return _parse_ids(pq.read_table(path, columns=["item_id"])["item_id"].to_pylist())


def _parse_ids(item_ids: Sequence[str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex("".join(item_ids)), ">u8").astype(np.uint64)


def _read_words_and_hashes(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each item a hash of its text and language, its picture's two hashes, and whether it has a picture."""
    table = pq.read_table(path, columns=["text", "language", "image_hash", "image_chroma"])
    pairs = zip(table["text"].to_pylist(), table["language"].to_pylist(), strict=True)
    words = np.array([int(hash_content_parts(*pair), 16) for pair in pairs], dtype=np.uint64)
    hashes = [table[name].fill_null(0).to_numpy().astype(np.int64) for name in ("image_hash", "image_chroma")]
    return words, np.stack(hashes, axis=1), np.asarray(table["image_hash"].is_valid()).astype(bool)


def _describe_duplicates(parts: Sequence[Path], found: Duplicates) -> Iterator[pa.Table]:
    """Yield the duplicates as rows of `dropped_row` and the part they are in: where each one is, and what it repeats.

    A table has a few thousand rows. The places of all duplicates are looked up at once and held as numbers.
    """
    places = _Places.of(parts, np.unique(np.concatenate([found.again, found.of])).astype(np.int64))
    for start in range(0, len(found.again), DESCRIBED_AT_ONCE):
        described = []
        for again, of, near in zip(*(each[start : start + DESCRIBED_AT_ONCE].tolist() for each in found), strict=True):
            (file, row, part), (first_file, first_row, _) = places[again], places[of]
            reason, same = NEAR if near else EQUAL
            detail = f"{same} as {first_file} row {first_row}"
            described.append({"file": file, "row": row, "reason": reason, "detail": detail, "part": part})
        yield pa.Table.from_pylist(described, schema=DUPLICATE_SCHEMA)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where some items of a corpus were read: the place in the corpus (ascending), the part, the file and the row."""

    place_P: np.ndarray
    part_P: np.ndarray
    file_P: np.ndarray
    row_P: np.ndarray
    files: list[str]

    @classmethod
    def of(cls, parts: Sequence[Path], place_P: np.ndarray) -> "_Places":
        ends = np.cumsum([pq.read_metadata(path).num_rows for path in parts])
        part_P = np.searchsorted(ends, place_P, side="right").astype(np.int32)
        found = cls(place_P, part_P, np.zeros(len(place_P), np.int32), np.zeros(len(place_P), np.int64), [])
        numbers: dict[str, int] = {}
        for part in np.unique(part_P):
            of_part, table = np.flatnonzero(part_P == part), pq.read_table(parts[part], columns=PLACE)
            chosen = table.take(place_P[of_part] - (ends[part] - table.num_rows))
            found.row_P[of_part] = chosen["row"].to_numpy()
            found.file_P[of_part] = [numbers.setdefault(name, len(numbers)) for name in chosen["file"].to_pylist()]
        found.files.extend(numbers)
        return found

    def __getitem__(self, place: int) -> tuple[str, int, int]:
        """Return the file, the row and the part of the item at this place in the corpus."""
        at = np.searchsorted(self.place_P, place)
        return self.files[self.file_P[at]], int(self.row_P[at]), int(self.part_P[at])


def _read_part_duplicates(duplicates: Path, number: int) -> pa.Table:
    return pq.read_table(duplicates, filters=pc.field("part") == number)


def _remove_duplicates(artefact: Partial, path: Path, again: pa.Table) -> None:
    """Write a part again without its duplicates, row group by row group; a part that has none is left alone.

    All rows of a part are of one form, so that their numbers tell them apart.
    """
    stays = ~np.isin(pq.read_table(path, columns=["row"])["row"].to_numpy(), again["row"].to_numpy())
    if not stays.all():
        _write_some(artefact, path, stays)


def _write_dropped(artefact: Partial, num_parts: int, again: Path, repeating: np.ndarray) -> None:
    """Write the bad rows of all pieces and the duplicates into one shard, in the order of the corpus."""
    with artefact.open_shard(DROPPED, DROPPED_SCHEMA) as writer:
        for number in range(num_parts):
            path = artefact.folder / f"{_name_dropped_shard(number)}.parquet"
            found = [pq.read_table(path)] if path.exists() else []
            if number in repeating:
                found.append(_read_part_duplicates(again, number).select(DROPPED_SCHEMA.names))
            if tables := [table.replace_schema_metadata(DROPPED_SCHEMA.metadata) for table in found]:
                writer.write_table(pa.concat_tables(tables).sort_by("row"))


def _name_dropped_shard(number: int) -> str:
    return f"dropped-{number:05d}"
