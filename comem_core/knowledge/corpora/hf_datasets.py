"""Hugging Face datasets as `save_to_disk` writes them: Arrow streams that `state.json` lists, read with pyarrow.

A folder with `dataset_dict.json` holds one dataset per split; all splits are read, in the order of that file.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from comem_core.knowledge.corpora.columns import check_names
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.parquet import cut_rows, read_columns, read_labels, read_rows_of
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow
from comem_core.stated_fields import parse_json

STATE, SPLITS, INFO = "state.json", "dataset_dict.json", "dataset_info.json"
LIMIT = 10_000_000  # bytes of a JSON file that describes a dataset


class SavedDataset(NamedTuple):
    """The Arrow files of a saved dataset in order, and the files that describe them."""

    streams: list[str]
    describing: set[str]


def find_saved_dataset(files: Files) -> SavedDataset | None:
    """Find the files of a saved dataset; None if no dataset was saved here.

    Raises ValueError if a describing file has another form.
    """
    if files.exists(SPLITS):
        folders = [f"{split}/" for split in _read_state(files, SPLITS)["splits"]]
    elif files.exists(STATE):
        folders = [""]
    else:
        return None
    streams = [
        f"{folder}{part['filename']}"
        for folder in folders
        for part in _read_state(files, folder + STATE)["_data_files"]
    ]
    return SavedDataset(streams, {SPLITS, *(folder + name for folder in folders for name in (STATE, INFO))})


def _read_state(files: Files, name: str) -> dict:
    try:
        described = parse_json(files.read(name, limit=LIMIT))
        assert described["splits" if name == SPLITS else "_data_files"] is not None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name} does not describe a dataset that `save_to_disk` wrote: {error!r}") from error
    return described


class ArrowStream(Form):
    """One Arrow stream of a saved dataset."""

    def __init__(self, files: Files, name: str, columns: tuple[tuple[str, str], ...] = ()):
        self.files, self.name, self.columns = files, name, columns

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the stream into pieces of `size` rows; in a local file this reads only the batches' metadata."""
        with self._open() as stream:
            num_rows = sum(len(batch) for batch in stream)
        yield from cut_rows(self.name, num_rows, size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        first = 0
        with self._open() as stream:
            names, labels = read_columns(stream.schema, self.columns), read_labels(stream.schema)
            for batch in stream:
                begin, end = max(piece.start, first), min(piece.stop, first + len(batch))
                if begin < end:
                    chosen = batch.select(names).slice(begin - first, end - begin)
                    for place in range(len(chosen)):  # one row at a time: a batch may hold a thousand pictures
                        for fields in read_rows_of(chosen.slice(place, 1), labels):
                            yield RawRow(self.name, begin + place + 1, fields)
                first += len(batch)
                if first >= piece.stop:
                    return

    def _open(self) -> pa.ipc.RecordBatchStreamReader:
        local = self.files.find_local(self.name)
        try:
            source = pa.memory_map(str(local)) if local is not None else self.files.open(self.name)
            stream = pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.name} is not a complete Arrow stream: {error}") from error
        check_names(self.name, stream.schema.names, self.columns)
        return stream
