"""Turns pieces of a corpus into shards of items, row group by row group, and counts what became of their rows.

A piece becomes `part-00000.parquet`. If it has bad rows, `dropped-00000.parquet` is written first, so a part is there
only when its piece is done. Independent of Prefect and Ray.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.knowledge.corpora import (
    BadRow,
    Corpus,
    FoundItem,
    Piece,
    ReadingOptions,
    describe_changed,
    describe_no_good_row,
    find_folder,
    make_readable,
    open_corpus,
)
from comem_core.knowledge.preview import UncertainLanguages
from tasks.data.known_items import SOURCES, EarlierArtefact, KnownItems, PieceSources
from tasks.engine.partial import ROWS_OF, Partial
from tasks.rows.tables import ITEM_SCHEMA, ROWS_OF_A_GROUP, make_found_item_table
from warehouse.schemas import make_schema

BYTES_OF_A_GROUP = 16_000_000
TEXTS_OF_A_PICTURE = 8  # as many items without a picture count as one with a picture
DROPPED, FILES = "dropped-rows", "corpus-files"
UNCERTAIN = "uncertain-languages"  # also the name under which the artefact's record has them
EQUAL = ("duplicate_id", "the same image, text and language")
NEAR = ("near_duplicate", "the same text and language, and nearly the same image,")
DROPPED_SCHEMA = make_schema("dropped_row").with_metadata({ROWS_OF: b"dropped_row"})
NUM_REASONS = 5


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
                with self.artefact.open_shard(name_dropped_shard(number), DROPPED_SCHEMA) as dropped:
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


def forget_parts_without_dropped_rows(artefact: Partial) -> None:
    """Remove the parts of a damaged artefact whose `dropped-rows` is lost: nothing else says what they lack.

    An empty one is never kept (`finish`). What is made after it goes last, so that this can be killed and called again.
    """
    finished = artefact.list_finished()
    if DROPPED in finished or not finished & {FILES, SOURCES}:
        return
    if FILES in finished:
        counts = pq.read_table(artefact.folder / f"{FILES}.parquet", columns=["num_duplicates", "num_bad"])
        if not any(pc.sum(column).as_py() for column in counts.columns):
            return
    for path in (*artefact.folder.glob("part-*.parquet"), artefact.folder / f"{FILES}.parquet"):
        path.unlink(missing_ok=True)
    (artefact.folder / SOURCES).unlink(missing_ok=True)


def count_files(artefact: Partial, corpus: Corpus, pieces: Sequence[Piece]) -> None:
    """Write `corpus-files`: what became of the rows of each file, and which files were left out.

    Raises ValueError for a file of which a row is neither an item, nor a duplicate, nor a bad row.
    """
    seen, items, dropped = Counter(), Counter(), {"num_duplicates": Counter(), "num_bad": Counter()}
    for piece in pieces:
        seen.update({make_readable(file): count for file, count in corpus.count_rows(piece).items()})

    def name(file: str) -> str:
        return file if file in seen else find_folder(file)

    for path in artefact.folder.glob("part-*.parquet"):
        items.update(map(name, pq.read_table(path, columns=["file"])["file"].to_pylist()))
    for each in pq.read_table(artefact.folder / f"{DROPPED}.parquet", columns=["file", "reason"]).to_pylist():
        dropped["num_duplicates" if each["reason"] in (EQUAL[0], NEAR[0]) else "num_bad"][name(each["file"])] += 1
    counts = {"num_rows": seen, "num_items": items, **dropped}
    for file in set().union(*counts.values()):
        if seen[file] != (num_read := items[file] + sum(each[file] for each in dropped.values())):
            raise describe_changed(file, seen[file], num_read)
    listed = [vars(each) | {"file": make_readable(each.file)} for each in corpus.list_files()]
    rows = [
        each | {kind: 0 if each["reason"] else found[each["file"]] for kind, found in counts.items()} for each in listed
    ]
    assert sum(int(each["num_rows"] or 0) for each in rows) == seen.total(), "each file with rows is listed once"
    artefact.write_shard(FILES, pa.Table.from_pylist(rows, schema=make_schema("corpus_file")), rows_of="corpus_file")


def count_uncertain_languages(artefact: Partial) -> UncertainLanguages:
    """Add up the texts of all pieces whose language is not certain, and record them; the pieces' own files go."""
    whole, paths = UncertainLanguages(), sorted(artefact.folder.glob(f"{UNCERTAIN}-*.json"))
    for path in paths:
        whole.merge(UncertainLanguages(**json.loads(path.read_text(encoding="utf-8"))))
    if whole.counts:
        artefact.measure(UNCERTAIN, asdict(whole))
    for path in paths:
        path.unlink()
    return whole


def finish(artefact: Partial, corpus: str) -> Counter[str]:
    """Count the bad rows by reason, and remove their shard if it is empty.

    Raises ValueError, with the first reasons, if no part has an item.
    """
    path = artefact.folder / f"{DROPPED}.parquet"
    if not any(pq.read_metadata(part).num_rows for part in artefact.folder.glob("part-*.parquet")):
        dropped = pq.read_table(path)
        first = [BadRow(**row) for row in dropped.slice(0, NUM_REASONS).to_pylist()]
        raise describe_no_good_row(corpus, dropped.num_rows, first)
    counts = pq.read_table(path, columns=["reason"])["reason"].value_counts().to_pylist()
    if not counts:
        path.unlink()
    return Counter({each["values"]: each["counts"] for each in counts})


def name_dropped_shard(number: int) -> str:
    return f"dropped-{number:05d}"
