"""The training samples of an artefact as a sequence that needs little memory: pictures and items are read on demand.

Memory holds a few numbers for each sample and item: where they are. Texts of drafts are small and asked for in another
order than they are stored, so they are copied once into a temporary file. Uses Parquet, but not Prefect or Ray.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.knowledge.stored_items import ChosenItems, StoredItems
from comem_core.knowledge.stored_rows import HELD_BYTES, StoredRows
from comem_core.training.pool import NOBODY, ItemPool
from comem_core.training.samples import TrainingSample, TrainingSamples, describe_words
from tasks.rows.scratch import ScratchTexts

WORDS = ("sample_id", "language", "question", "answer")
DRAFT_COLUMNS = (*WORDS, "question_id", "item_ids")
NOWHERE = -1  # the place of what is not there

# Shapes: N samples, S places of all samples' items one sample after the other, Q questions, P items of the store.


@dataclass(frozen=True, kw_only=True)
class SetPaths:
    """The shards of a set of samples."""

    questions: Sequence[Path]
    drafts: Sequence[Path]
    kept: Sequence[Path]


class StoredSamples(TrainingSamples):
    """The kept drafts of some sets in order of sample id, with their pictures and items."""

    def __init__(self, knowledge: Path, sets: Sequence[SetPaths], *, held_bytes: int = HELD_BYTES):
        """Find all samples and their items; `held_bytes` of items are cached, and as many of questions.

        Raises:
            ValueError: a kept draft has a question or an item that is not there.
        """
        self.knowledge, self.words = knowledge, ScratchTexts()
        self.pictures = [_open_pictures(each, held_bytes // len(sets)) for each in sets]
        finder, parts = StoredItems(knowledge), []
        for number, each in enumerate(sets):
            parts += _find_samples(number, each, finder, self.words)
        self.where = _join(parts)
        self.items = StoredItems(knowledge, held_bytes=held_bytes)

    def __len__(self) -> int:
        return len(self.where.order_N)

    @overload
    def __getitem__(self, place: int) -> TrainingSample: ...

    @overload
    def __getitem__(self, place: slice) -> list[TrainingSample]: ...

    def __getitem__(self, place: int | slice) -> TrainingSample | list[TrainingSample]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        number = self.where.number(place)
        words, about = json.loads(self.words[number]), int(self.where.about_N[number])
        return TrainingSample(
            **dict(zip(WORDS, words, strict=True)),
            image=self.pictures[self.where.sets_N[number]][int(self.where.questions_N[number])],
            items=ChosenItems(self.items.rows, self.where.list_items(number)),
            about=None if about == NOWHERE else about,
        )

    def list_bare(self) -> list[str]:
        bare_N = np.diff(self.where.ends_N)[self.where.order_N] == 0
        return [json.loads(self.words[int(number)])[0] for number in self.where.order_N[bare_N]]

    def describe_each(self) -> Iterator[str]:
        """Yield what tells samples apart. The items' texts are copied into a temporary file while this goes on."""
        with ScratchTexts() as texts:
            for table in StoredItems(self.knowledge).rows.read_tables("text"):
                texts.add(table["text"].to_pylist())
            for number in self.where.order_N.tolist():
                about, places = int(self.where.about_N[number]), self.where.list_items(number).tolist()
                words = json.loads(self.words[number])
                yield describe_words(words, None if about == NOWHERE else about, [texts[each] for each in places])

    def pool_items(self) -> ItemPool:
        used_P = np.unique(self.where.items_S)
        rows = self.items.rows
        facts = _take_rows(rows.read_tables("item_id", "language", "entity_id"), used_P)
        return ItemPool.sort(
            rows.numbers[used_P],
            languages=_number_column(facts["language"]),
            entities=_number_column(facts["entity_id"]),
            places=used_P,
            read=rows.__getitem__,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleIndex:
    """Where samples are: by number, in the order in which they are stored. `order_N` has the numbers in order of id."""

    order_N: np.ndarray
    sets_N: np.ndarray
    questions_N: np.ndarray
    about_N: np.ndarray
    ends_N: np.ndarray  # of each sample's items in items_S; begins with 0
    items_S: np.ndarray

    def number(self, place: int) -> int:
        """Return the number of the sample at a place in order of id."""
        return int(self.order_N[place])

    def list_items(self, number: int) -> np.ndarray:
        """List the places of a sample's items in rank order."""
        return self.items_S[self.ends_N[number] : self.ends_N[number + 1]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """The samples of one shard of drafts."""

    set_number: int
    sample_ids: pa.Array
    questions_N: np.ndarray
    about_N: np.ndarray
    sizes_N: np.ndarray
    items_S: np.ndarray


def _open_pictures(paths: SetPaths, held_bytes: int) -> StoredRows[bytes]:
    return StoredRows(
        paths.questions, ("image",), lambda row: row["image"], id_column="question_id", held_bytes=held_bytes
    )


def _find_samples(number: int, paths: SetPaths, items: StoredItems, words: ScratchTexts) -> Iterator[_Found]:
    """Find the kept drafts of a set, shard by shard; add their words to the others."""
    kept = StoredRows(paths.kept, ("sample_id",), dict, id_column="sample_id")
    questions = StoredRows(paths.questions, ("question_id",), dict, id_column="question_id")
    gold = [
        items.rows.find_places(table["gold_item_id"].to_pylist()) for table in questions.read_tables("gold_item_id")
    ]
    gold_Q = _concatenate(gold, np.int64)
    for path in paths.drafts:
        table = pq.ParquetFile(path).read(columns=list(DRAFT_COLUMNS))
        table = table.filter(pa.array(kept.find_places(table["sample_id"].to_pylist()) != NOWHERE))
        rows = table.to_pylist()
        words.add(json.dumps([row[name] for name in WORDS]) for row in rows)
        questions_N = questions.find_places(row["question_id"] for row in rows)
        sizes_N = np.array([len(row["item_ids"] or ()) for row in rows], np.int64)
        items_S = items.rows.find_places(item_id for row in rows for item_id in row["item_ids"] or ())
        _refuse_missing(rows, questions_N, items_S, path)
        yield _Found(
            set_number=number,
            sample_ids=table["sample_id"].combine_chunks(),
            questions_N=questions_N.astype(np.int32),
            about_N=_find_about(gold_Q[questions_N], np.split(items_S, np.cumsum(sizes_N)[:-1])),
            sizes_N=sizes_N,
            items_S=items_S.astype(np.int32),
        )


def _find_about(gold_N: np.ndarray, items: Sequence[np.ndarray]) -> np.ndarray:
    """Return the first place of each sample's gold item among its items."""
    found = [np.flatnonzero(places == gold) for gold, places in zip(gold_N, items, strict=False)]
    return np.array(
        [each[0] if gold != NOWHERE and len(each) else NOWHERE for gold, each in zip(gold_N, found, strict=True)],
        np.int32,
    )


def _refuse_missing(rows: Sequence[dict[str, Any]], questions_N: np.ndarray, items_S: np.ndarray, path: Path) -> None:
    """Raise ValueError if a draft's question or one of its items was not found."""
    asked = (("question", row["sample_id"], row["question_id"]) for row in rows)
    shown = (("item", row["sample_id"], item_id) for row in rows for item_id in row["item_ids"] or ())
    for wanted, places in ((asked, questions_N), (shown, items_S)):
        if len(missing := np.flatnonzero(places == NOWHERE)):
            kind, sample_id, name = list(wanted)[missing[0]]
            raise ValueError(
                f"the sample {sample_id} ({path}) has the {kind} {name}, which is not in the store; run "
                "synth-and-train again: it makes what is missing"
            )


def _join(parts: Sequence[_Found]) -> SampleIndex:
    """Join what was found in all shards."""
    ids = pa.chunked_array([each.sample_ids for each in parts], pa.string())
    numbers = [np.full(len(each.sizes_N), each.set_number, np.int16) for each in parts]
    sizes = _concatenate([each.sizes_N for each in parts], np.int64)
    return SampleIndex(
        order_N=pc.call_function("array_sort_indices", [ids.combine_chunks()]).to_numpy().astype(np.int32),
        sets_N=_concatenate(numbers, np.int16),
        questions_N=_concatenate([each.questions_N for each in parts], np.int32),
        about_N=_concatenate([each.about_N for each in parts], np.int32),
        ends_N=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        items_S=_concatenate([each.items_S for each in parts], np.int32),
    )


def _concatenate(arrays: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *arrays])


def _take_rows(tables: Iterator[pa.Table], places_P: np.ndarray) -> pa.Table:
    """Return the rows at these ascending places of all tables."""
    taken, start = [], 0
    for table in tables:
        inside = places_P[np.searchsorted(places_P, start) : np.searchsorted(places_P, start + len(table))]
        taken.append(table.take(pa.array(inside - start)))
        start += len(table)
    return pa.concat_tables(taken)


def _number_column(names: pa.ChunkedArray) -> np.ndarray:
    """Number the names of a column (int32); null is `NOBODY`."""
    encoded = names.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(NOBODY).to_numpy()
