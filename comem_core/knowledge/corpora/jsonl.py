"""JSON Lines: one object per line, with field names that `corpora.columns` knows. A row's number is its line number."""

from collections.abc import Iterator

from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.lines import MAX_ROW_BYTES, Lines, cut
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow, Refused
from comem_core.knowledge.corpora.sidecars import NOT_JSON, read_json

ENDINGS = (".jsonl", ".ndjson")


class JsonLines(Form):
    """One file of JSON Lines, compressed or not."""

    def __init__(self, files: Files, name: str):
        self.files, self.name, self.lines = files, name, Lines(files, name)

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` lines."""
        lines = Lines(self.files, self.name)  # not `self.lines`: rows may be read at the same time
        return cut(self.name, lines, ((bool(line.strip()), lines.place) for line in lines.read(0)), size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for number, line in enumerate(self.lines.read(piece.start, piece.stop), start=piece.row):
            if line.strip():
                yield RawRow(self.name, number, _parse_fields(line))


def _parse_fields(line: bytes) -> dict | Refused:
    if len(line) == MAX_ROW_BYTES:
        return Refused("row_too_large", f"a line of more than {MAX_ROW_BYTES} bytes")
    try:
        fields = read_json(line)
    except Refused as refused:
        is_json, said = not refused.detail.startswith(NOT_JSON), refused.detail.removeprefix(NOT_JSON)
        return Refused(refused.reason, f"the line is {said}" if is_json else f"not a line of JSON: {said}")
    if not isinstance(fields, dict):
        return Refused("wrong_schema", f"expected an object with image and text; found {type(fields).__name__}")
    return fields
