"""What a corpus's items were made from, kept beside them, and the items of earlier artefacts that it finds again.

Each artefact has `sources.npy`: for each item, in the order of the parts, the keys of its row and of its picture
(`comem_core.knowledge.known_rows`), and whether its language is certain. The file is mapped into memory, and parts are
read row group by row group, so memory holds some 40 bytes for each item of an earlier artefact. Independent of Prefect
and Ray.
"""

import json
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from comem_core.addresses.copies import find_whole
from comem_core.knowledge.corpora import FoundItem
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.known_rows import KnownRow
from comem_core.knowledge.pictures import Prepared
from comem_core.knowledge.stored_items import ITEM_COLUMNS
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage, list_libraries
from tasks.engine.store import Store
from tasks.rows.tables import HASHES

SOURCES = "sources.npy"
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
SOURCE = np.dtype([("row", KEY), ("picture", KEY), ("certain", "?")])
FACTS = ("certain", "number", "as_it_was", "decoded")
SOURCE_OF_A_PIECE = np.dtype([*SOURCE.descr, ("number", "<i8"), ("as_it_was", "?"), ("decoded", "?")])
NO_KEY = bytes(KEY.itemsize)
NEWEST = 2  # earlier artefacts that are looked into
DECIDING = "pillow"  # the library that decides what a picture becomes
PARTS_OPEN = 64
BYTES_HELD = 64_000_000  # of row groups that were read last
READ_COLUMNS = ("item_id", "image_id", *ITEM_COLUMNS, *HASHES)


@dataclass(eq=False)
class PieceSources:
    """What the items of a piece were made from, and how."""

    keys: list[bytes] = field(default_factory=list)
    facts: list[tuple[bool, int, bool, bool]] = field(default_factory=list)

    def add(self, found: FoundItem) -> None:
        self.keys += (found.row_key or NO_KEY, found.picture_key or NO_KEY)
        self.facts.append((found.language_certain, found.row, found.as_it_was, found.is_decoded))

    def write(self, artefact: Partial, number: int) -> None:
        """Write them as a file of their own, which `join_sources` takes up."""
        sources = np.zeros(len(self.facts), SOURCE_OF_A_PIECE)
        keys_N2 = np.frombuffer(b"".join(self.keys), KEY).reshape(-1, 2)
        sources["row"], sources["picture"] = keys_N2.T
        for name, values in zip(FACTS, zip(*self.facts, strict=True), strict=False):
            sources[name] = values
        _write(artefact, f"sources-{number:05d}.npy", sources)


def join_sources(artefact: Partial, parts: Sequence[Path]) -> Counter[str]:
    """Write `sources.npy` from the files of the pieces, without the rows of duplicates, and return what they count:
    rows `as_it_was`, and pictures `decoded`.

    Parts of a damaged artefact that were there keep what is known of them. It can be killed and called again.
    """
    counts, pieces = Counter(), []
    ends = np.cumsum([0, *(pq.read_metadata(part).num_rows for part in parts)])
    path = artefact.folder / SOURCES
    joined = np.load(path) if path.exists() else np.zeros(0, SOURCE)
    if joined.dtype != SOURCE or len(joined) != ends[-1]:
        joined = np.zeros(ends[-1], SOURCE)
    for number, part in enumerate(parts):
        piece = artefact.folder / f"sources-{number:05d}.npy"
        if not piece.exists():
            continue
        pieces.append(piece)
        sources = np.load(piece)
        counts.update({name: int(sources[name].sum()) for name in ("as_it_was", "decoded")})
        stays = np.isin(sources["number"], pq.read_table(part, columns=["row"])["row"].to_numpy())
        assert stays.sum() == ends[number + 1] - ends[number], f"{piece.name} is about the rows of {part.name}"
        for name in SOURCE.names or ():
            joined[name][ends[number] : ends[number + 1]] = sources[name][stays]
    _write(artefact, SOURCES, joined)
    artefact.remove(*(piece.name for piece in pieces))
    return counts


def _write(artefact: Partial, name: str, sources: np.ndarray) -> None:
    with artefact.open_file(name) as path, path.open("wb") as stream:
        np.save(stream, sources)


@dataclass(frozen=True)
class EarlierArtefact:
    """An earlier artefact of a corpus: its folder or address, and the file, sha256 and number of rows of each of its
    parts. `sources` is the sha256 of its sources."""

    uri: str
    sources: str
    parts: tuple[tuple[str, str, int], ...]


def find_earlier(store: Store, stage: Stage, key: Any, *, ignore: str) -> tuple[EarlierArtefact, ...]:
    """Find the newest artefacts with the same key but for the field `ignore`, whose pictures the same library made.

    Their sources are verified here; a part is verified when it is first read.
    """
    asked, found = _list_set(json.loads(json.dumps(asdict(key))), ignore), []
    for record in reversed(store.list_records(stage.name)):
        shards = {shard["file"]: shard for shard in record["shards"]}
        fits = record["version"] == stage.version and _list_set(record["recipe"], ignore) == asked
        same = record.get("libraries", {}).get(DECIDING) == list_libraries()[DECIDING]
        if not fits or not same or SOURCES not in shards:
            continue
        uri, sources = record["uri"], shards[SOURCES]["sha256"]
        if find_whole(uri, SOURCES, sources):
            parts = [shard for name, shard in sorted(shards.items()) if name.startswith("part-")]
            listed = tuple((each["file"], each["sha256"], each["rows"]) for each in parts)
            found.append(EarlierArtefact(uri, sources, listed))
        if len(found) == NEWEST:
            break
    return tuple(found)


def _list_set(recipe: Mapping[str, Any], ignore: str) -> dict[str, Any]:
    """Return the fields that are set; what is off is missing where an earlier version did not know it."""
    return {name: value for name, value in recipe.items() if name != ignore and value is not None}


class KnownItems:
    """The items of earlier artefacts by the keys of their rows and pictures, newest first. Made in each worker."""

    def __init__(self, earlier: Sequence[EarlierArtefact]) -> None:
        self._opened = [_Opened(each) for each in earlier]

    def find_rows(self, keys: Sequence[bytes | None]) -> list[KnownRow | None]:
        """Return what was made of the rows with these keys; None for one that is not known."""
        rows: list[KnownRow | None] = [None] * len(keys)
        for opened in self._opened:
            left = [number for number, key in enumerate(keys) if key and rows[number] is None]
            places = opened.by_row.find([keys[number] or NO_KEY for number in left])
            there = [number for number, place in zip(left, places, strict=True) if place >= 0]
            for number, row in zip(there, opened.read_rows([each for each in places if each >= 0]), strict=True):
                rows[number] = row
        return rows

    def find_picture(self, key: bytes) -> Prepared | None:
        """Return what was made of the picture with this key; None if it is not known."""
        for opened in self._opened:
            [place] = opened.by_picture.find([key])
            [row] = opened.read_rows([place]) if place >= 0 else [None]
            if row and row.item.image is not None and row.hashes is not None:
                return Prepared(row.item.image, row.hashes)
        return None


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Keys in order, with the place in the artefact of each."""

    keys_N: np.ndarray
    places_N: np.ndarray
    high_N: np.ndarray

    @classmethod
    def of(cls, keys_N: np.ndarray) -> "_Sorted":
        order_N = np.argsort(keys_N["high"], kind="stable").astype(np.int32)
        return cls(keys_N, order_N, keys_N["high"][order_N])

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """Return the place of each key; -1 if it is not there."""
        if not len(self.high_N):
            return [-1] * len(keys)
        asked = np.frombuffer(b"".join(keys), KEY)
        at = np.minimum(np.searchsorted(self.high_N, asked["high"]), len(self.high_N) - 1)
        places = self.places_N[at]
        found = (self.keys_N[places] == asked) & ((asked["high"] | asked["low"]) != 0)
        return np.where(found, places, -1).tolist()


@dataclass(eq=False)
class _Opened:
    """An earlier artefact that is read: row groups that were read last are held, up to BYTES_HELD."""

    artefact: EarlierArtefact
    held: OrderedDict[tuple[int, int], tuple[int, dict[str, list[Any]]]] = field(default_factory=OrderedDict)
    num_bytes: int = 0
    opened: dict[int, tuple[pq.ParquetFile, list[int]] | None] = field(default_factory=dict)

    @cached_property
    def sources(self) -> np.ndarray:
        path = find_whole(self.artefact.uri, SOURCES, self.artefact.sources)
        found = np.load(path, mmap_mode="r") if path else np.zeros(0, SOURCE)
        return found if found.dtype == SOURCE and len(found) == self.ends[-1] else np.zeros(0, SOURCE)

    @cached_property
    def ends(self) -> np.ndarray:
        return np.cumsum([0, *(rows for *_, rows in self.artefact.parts)])

    @cached_property
    def by_row(self) -> _Sorted:
        return _Sorted.of(self.sources["row"])

    @cached_property
    def by_picture(self) -> _Sorted:
        return _Sorted.of(self.sources["picture"])

    def read_rows(self, places: Sequence[int]) -> list[KnownRow | None]:
        """Read the items at these places; None for one whose part is damaged or gone."""
        of_parts = np.searchsorted(self.ends, places, side="right") - 1
        rows, sources = (np.array(places, np.int64) - self.ends[of_parts]).tolist(), self.sources[places]
        certain, keys = sources["certain"].tolist(), sources["picture"].tobytes()
        found = []
        for number, (part, row) in enumerate(zip(of_parts.tolist(), rows, strict=True)):
            key = keys[number * KEY.itemsize : (number + 1) * KEY.itemsize]
            found.append(self._read_row(part, row, certain[number], None if key == NO_KEY else key))
        return found

    def _read_row(self, part: int, row: int, certain: bool, picture_key: bytes | None) -> KnownRow | None:
        if (opened := self._open_part(part)) is None:
            return None
        file, begins = opened
        group = bisect_right(begins, row) - 1
        columns, at = self._read_group(file, part, group), row - begins[group]
        words = {name: columns[name][at] for name in ITEM_COLUMNS}
        item = KnowledgeItem.with_id(columns["item_id"][at], **words)
        if item.image is not None:
            item.__dict__["image_id"] = columns["image_id"][at]  # where `cached_property` looks first
        first, second = (columns[name][at] for name in HASHES)
        return KnownRow(item, None if first is None or second is None else (first, second), certain, picture_key)

    def _open_part(self, part: int) -> tuple[pq.ParquetFile, list[int]] | None:
        """Open a part, and return it with the first row of each of its row groups; None if it is damaged or gone."""
        if part not in self.opened:
            file, sha256, _ = self.artefact.parts[part]
            opened = None
            if path := find_whole(self.artefact.uri, file, sha256):
                opened = pq.ParquetFile(path, memory_map=True)
            if len(self.opened) >= PARTS_OPEN:
                self.opened.pop(next(iter(self.opened)))
            counts = (
                [opened.metadata.row_group(each).num_rows for each in range(opened.num_row_groups)] if opened else ()
            )
            self.opened[part] = (opened, [0, *accumulate(counts)][:-1]) if opened else None
        return self.opened[part]

    def _read_group(self, file: pq.ParquetFile, part: int, group: int) -> dict[str, list[Any]]:
        if (part, group) in self.held:
            self.held.move_to_end((part, group))
            return self.held[part, group][1]
        table = file.read_row_group(group, columns=list(READ_COLUMNS), use_threads=False)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        self.held[part, group] = table.nbytes, columns
        self.num_bytes += table.nbytes
        while self.num_bytes > BYTES_HELD and len(self.held) > 1:
            self.num_bytes -= self.held.popitem(last=False)[1][0]
        return columns
