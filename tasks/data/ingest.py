"""Ingestion: reads a corpus in pieces, keeps good rows as items, and lists bad rows with file, row and reason.

At the end every row of every file is an item, a duplicate or a bad row, and the files that were left out are listed.
Workers share the pieces; a small corpus is read in this process, which is quicker than asking workers. A run that is
killed at any point continues with the missing pieces and gives the same rows in the same order.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial as bind
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.data_roots import read_data_roots
from comem_core.knowledge.corpora import (
    BUILT_IN,
    BadRow,
    Corpus,
    Piece,
    ReadingOptions,
    describe_changed,
    describe_no_good_row,
    find_folder,
    make_readable,
    open_corpus,
)
from comem_core.knowledge.corpus_names import find_address
from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.preview import UncertainLanguages
from comem_core.knowledge.withdrawn import COLUMNS, find_withdrawn, read_withdrawals
from comem_core.neutral import OFF_AT_NONE
from comem_core.recipes.recipe import KnowledgeRecipe
from comem_core.serving.layout import CORPUS_ADDRESS, KNOWLEDGE_STAGE
from tasks.data.item_shards import (
    DROPPED,
    EQUAL,
    FILES,
    NEAR,
    UNCERTAIN,
    PieceWriter,
    forget_parts_without_dropped_rows,
    leave_out_items,
    name_part_shard,
    take_out_duplicates,
)
from tasks.data.known_items import find_earlier, join_sources
from tasks.engine.context import ParameterRefused, refuse_faults
from tasks.engine.on_ray import map_shards
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger, report_progress
from tasks.engine.workers import Workers
from tasks.rows.tables import read_items
from tasks.run import Run, warm_workers
from warehouse.schemas import make_schema

KNOWLEDGE = Stage(name=KNOWLEDGE_STAGE, version="6", table="knowledge_item")
SHARDS_OF_A_PIECE = 16  # a row is less work than a sample, so a piece has the rows of 16 shards of other stages
FEW_PIECES = 4
NUM_REASONS = 5
KNOWN_PER_NEW = 16  # rows that are as they were take as long as one that is read
GUESSING = 2  # of the languages of a file's texts (`knowledge.file_languages`)


@dataclass(frozen=True, kw_only=True)
class KnowledgeKey:
    """The name and content of a corpus, so that an edited folder is read again, and how its rows are read."""

    corpus: str
    content: str
    reading: ReadingOptions
    near_duplicate_bits: int | None = field(default=None, metadata=OFF_AT_NONE)
    # The version of how languages are guessed; None where the rows or the recipe state them.
    guessing: int | None = field(default=None, metadata=OFF_AT_NONE)
    # How many items were left out because they were withdrawn, and a hash of their ids.
    withdrawn: str | None = field(default=None, metadata=OFF_AT_NONE)
    # The further folders that its paths and links may lead to, as a hash: a row that was refused may be read then.
    roots: str | None = field(default=None, metadata=OFF_AT_NONE)


@stage_task(name="ingest-knowledge")
def ingest_knowledge(run: Run) -> Reference:
    """Read the recipe's corpus into items; bad rows are counted and listed beside them.

    Items that were withdrawn from the store are left out, in an artefact of its own beside that of the whole corpus.

    Raises ParameterRefused for a corpus that cannot be opened, or in which no row is an item.
    """
    recipe = run.recipe.knowledge
    with refuse_faults("knowledge"):
        reading = make_reading_options(recipe)
        corpus = open_corpus(recipe.corpus, reading=reading)

    def make(artefact: Partial) -> None:
        warm_workers(run)
        size = artefact.keep("rows_per_piece", run.context.rows_per_shard * SHARDS_OF_A_PIECE)
        pieces = list(corpus.cut_into_pieces(size))
        forget_parts_without_dropped_rows(artefact)
        earlier = find_earlier(Store.of(run.context), KNOWLEDGE, key, ignore="content")
        _read_pieces(run, corpus, pieces, PieceWriter(recipe.corpus, reading, artefact, earlier))
        take_out_duplicates(artefact, near_duplicate_bits=recipe.near_duplicate_bits)
        found = join_sources(artefact, sorted(artefact.folder.glob("part-*.parquet")))
        if earlier:
            _say_what_is_new(artefact, found, sum(piece.num_rows for piece in pieces))
        count_files(artefact, corpus, pieces)
        with refuse_faults("knowledge"):
            bad = finish(artefact, recipe.corpus)
        if bad:
            counts = ", ".join(f"{count} {reason}" for reason, count in bad.most_common())
            get_stage_logger().warning("%d bad rows were left out: %s", bad.total(), counts)
        artefact.measure("bad_rows", dict(bad))
        artefact.measure(CORPUS_ADDRESS, find_address(recipe.corpus))
        if said := count_uncertain_languages(artefact).describe():
            get_stage_logger().info("%s", said)

    key = KnowledgeKey(
        corpus=PurePosixPath(recipe.corpus).name,
        content=_name_content(corpus),
        reading=replace(reading, roots=()),
        near_duplicate_bits=recipe.near_duplicate_bits,
        guessing=GUESSING if recipe.language is None and recipe.corpus not in BUILT_IN else None,
        roots=hash_content_parts(*reading.roots) if reading.roots else None,
    )
    return _leave_out_withdrawn(run, key, run_stage(run, KNOWLEDGE, key, {}, make))


def _leave_out_withdrawn(run: Run, key: KnowledgeKey, whole: Reference) -> Reference:
    """Return the items without those that were withdrawn, or the whole corpus if none of them was."""
    store = Store.of(run.context)
    if whole.planned or not (withdrawals := read_withdrawals(store.place)):
        return whole
    items, record = read_items(whole), store.find(whole.stage, whole.fingerprint)
    gone = find_withdrawn(items.rows.read_tables(*COLUMNS.values()), withdrawals)
    if not gone or record is None:
        return whole
    if len(gone) == len(items):
        raise ParameterRefused(f"knowledge: all {len(items)} items of {key.corpus} were withdrawn from {store.place}")

    def make(artefact: Partial) -> None:
        leave_out_items(artefact, record, gone, ("withdrawn", "it was withdrawn (make withdraw)"))
        artefact.measure("bad_rows", {"withdrawn": len(gone)})
        artefact.measure(CORPUS_ADDRESS, record["measured"].get(CORPUS_ADDRESS))
        get_stage_logger().warning("%d of %d items were left out, because they were withdrawn", len(gone), len(items))

    named = f"{len(gone)} items, {hash_content_parts(*sorted(gone))}"
    return run_stage(run, KNOWLEDGE, replace(key, withdrawn=named), {"knowledge": whole}, make)


def make_reading_options(recipe: KnowledgeRecipe) -> ReadingOptions:
    """Return how the recipe reads rows. Raises ValueError for a wrong COMEM_DATA_ROOTS."""
    return ReadingOptions(
        language=recipe.language,
        source=recipe.source,
        licence=recipe.licence,
        images=recipe.images,
        allow_urls=recipe.allow_urls,
        max_side=recipe.max_side,
        max_pixels=recipe.max_pixels,
        columns=recipe.columns,
        roots=read_data_roots(),
    )


def _read_pieces(run: Run, corpus: Corpus, pieces: list[Piece], writer: PieceWriter) -> None:
    """Write the missing shards of the pieces.

    This process writes a few, or more while most of their rows are known; workers write the others.
    """
    done = writer.artefact.list_finished()
    make_writer = bind(PieceWriter, writer.corpus, writer.reading, writer.artefact, writer.earlier)
    writer.__dict__["opened"] = corpus  # what `cached_property` would open again
    missing = {
        name_part_shard(each): (each, piece) for each, piece in enumerate(pieces) if name_part_shard(each) not in done
    }
    few = FEW_PIECES * max((piece.num_rows for piece in pieces), default=0)
    while missing and (len(missing) <= FEW_PIECES or (writer.earlier and _measure_work(writer) < few)):
        shard = next(iter(missing))
        writer(missing.pop(shard))
    if missing:
        map_shards(make_writer, missing, workers=Workers.of(run.context), on_done=report_progress())
        writer.artefact.fetch_finished()


def _measure_work(writer: PieceWriter) -> float:
    """Return the work that was done, in rows that are read anew."""
    return writer.counts[False] + writer.counts[True] / KNOWN_PER_NEW


def _say_what_is_new(artefact: Partial, counts: Counter[str], num_rows: int) -> None:
    """Log and record how many rows are those of an earlier artefact, and how many pictures had to be decoded."""
    artefact.measure("rows_as_they_were", counts["as_it_was"])
    artefact.measure("pictures_decoded", counts["decoded"])
    get_stage_logger().info(
        "%d of %d rows are as they were; %d pictures were decoded", counts["as_it_was"], num_rows, counts["decoded"]
    )


def _name_content(corpus: Corpus) -> str:
    """Name a corpus's content: the revision of a built-in one, else a hash of its files' names, sizes and times."""
    shipped = BUILT_IN.get(corpus.name)
    return f"{corpus.name}@{shipped.name_revision()}" if shipped else corpus.name_content()


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
    artefact.remove(*(path.name for path in paths))
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
        artefact.remove(path.name)
    return Counter({each["values"]: each["counts"] for each in counts})
