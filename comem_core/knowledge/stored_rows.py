"""Rows of shards as a sequence that needs little memory: a row group is read when one of its rows is asked for.

The row groups used last are cached, up to a number of bytes: small tables are read once, and tables larger than memory
work too. A row is found by its place or its id; memory holds one number for each id. Uses Parquet, and does not depend
on the meaning of rows.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.items import hash_content_parts

HELD_BYTES = 256_000_000
HELD_FILES = 64
ROWS_AT_ONCE = 16_384  # of columns without pictures

Row = TypeVar("Row")


def hash_to_number(name: str) -> int:
    """Return a number of 64 bits for any text that is an id: its hash."""
    return int(hash_content_parts(name), 16)


class StoredRows(Generic[Row]):
    """The rows of some Parquet files in the order in which they were written; `make` makes a row from `columns`."""

    def __init__(
        self,
        paths: Sequence[Path],
        columns: Sequence[str],
        make: Callable[[dict[str, Any]], Row],
        *,
        id_column: str,
        number_of: Callable[[str], int] = hash_to_number,
        held_bytes: int = HELD_BYTES,
    ):
        """`number_of` turns an id into a number of 64 bits; it raises ValueError for a text that is not an id."""
        self.paths, self.columns, self.make, self.held_bytes = paths, list(columns), make, held_bytes
        self.id_column, self.number_of = id_column, number_of
        self.held: OrderedDict[int, tuple[int, Sequence[Row]]] = OrderedDict()  # row groups: their bytes and rows
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._num_held, self._reading = 0, Lock()
        sizes = [
            (number, group, facts.row_group(group).num_rows)
            for number, path in enumerate(paths)
            for facts in [pq.read_metadata(path)]
            for group in range(facts.num_row_groups)
        ]
        self._where = np.array([each[:2] for each in sizes], dtype=np.int32).reshape(-1, 2)
        self._ends = np.cumsum([each[2] for each in sizes], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, place: int) -> Row:
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        group = int(np.searchsorted(self._ends, place, side="right"))
        rows = self._read_group(group)
        return rows[place - int(self._ends[group]) + len(rows)]

    def __iter__(self) -> Iterator[Row]:
        return (row for group in range(len(self._ends)) for row in self._read_group(group))

    def of(self, row_id: str) -> Row:
        """Return the row with this id (the last of several). Raises KeyError if there is none."""
        place = self.find_place(row_id)
        if place is None:
            raise KeyError(row_id)
        return self[place]

    def find_place(self, row_id: object) -> int | None:
        """Return the place of the row with this id, or None."""
        try:
            number = np.uint64(self.number_of(str(row_id)))
        except (ValueError, OverflowError):
            return None
        found = int(np.searchsorted(self._sorted_numbers, number, side="right")) - 1
        if found < 0 or self._sorted_numbers[found] != number:
            return None
        return int(self._order[found])

    def find_places(self, row_ids: Iterable[str | None]) -> np.ndarray:
        """Return the places of the rows with these ids (int64), as `find_place` does; -1 where there is none."""
        numbers_N, known_N = self._number_all(row_ids)
        found_N = np.searchsorted(self._sorted_numbers, numbers_N, side="right") - 1
        known_N &= found_N >= 0
        known_N[known_N] = self._sorted_numbers[found_N[known_N]] == numbers_N[known_N]
        places_N = np.full(len(found_N), -1, np.int64)
        places_N[known_N] = self._order[found_N[known_N]]
        return places_N

    def _number_all(self, row_ids: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of ids (uint64), and which of these texts are ids."""
        numbers, known = [], []
        for row_id in row_ids:
            try:
                number = -1 if row_id is None else self.number_of(row_id)
            except ValueError:
                number = -1
            known.append(0 <= number < 2**64)
            numbers.append(number if known[-1] else 0)
        return np.array(numbers, np.uint64), np.array(known, bool)

    def read_column(self, name: str) -> list[Any]:
        """Read one column of all rows; the result is not cached."""
        return [value for table in self.read_tables(name) for value in table[name].to_pylist()]

    def read_tables(self, *names: str) -> Iterator[pa.Table]:
        """Read these columns of all rows, some thousands at a time; the result is not cached."""
        for path in self.paths:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(names)):
                    yield pa.Table.from_batches([batch])

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numbers of all ids, in the order of rows (uint64)."""
        found = (
            np.array([self.number_of(each) for each in table[self.id_column].to_pylist()], np.uint64)
            for table in self.read_tables(self.id_column)
        )
        return np.concatenate([np.zeros(0, np.uint64), *found])

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.numbers, kind="stable")

    @cached_property
    def _sorted_numbers(self) -> np.ndarray:
        return self.numbers[self._order]

    def _read_group(self, group: int) -> Sequence[Row]:
        """Return the rows of a row group, from the cache or the file; the groups used longest ago leave the cache."""
        with self._reading:
            if group in self.held:
                self.held.move_to_end(group)
                return self.held[group][1]
            number, inside = self._where[group].tolist()
            table = self._open_file(number).read_row_group(inside, columns=self.columns)
            rows = [self.make(row) for row in table.to_pylist()]
            self.held[group] = (table.nbytes, rows)
            self._num_held += table.nbytes
            while self._num_held > self.held_bytes and len(self.held) > 1:
                self._num_held -= self.held.popitem(last=False)[1][0]
            return rows

    def _open_file(self, number: int) -> pq.ParquetFile:
        if number in self._files:
            self._files.move_to_end(number)
        else:
            # With `pre_buffer`, an open file would keep the bytes of the row group that was read last.
            self._files[number] = pq.ParquetFile(self.paths[number], pre_buffer=False)
            if len(self._files) > HELD_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[number]


class StoredPictures(Mapping[str, bytes]):
    """The pictures of rows that have one, by `image_id`."""

    def __init__(self, rows: StoredRows, picture_of: Callable[[Any], bytes]):
        self.rows, self.picture_of = rows, picture_of
        self._places = {
            image_id: place for place, image_id in enumerate(rows.read_column("image_id")) if image_id is not None
        }

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, image_id: str) -> bytes:
        return self.picture_of(self.rows[self._places[image_id]])
