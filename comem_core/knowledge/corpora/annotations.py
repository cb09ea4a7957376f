"""JSON files that are a whole table: a list of objects (LLaVA's, or with columns of our own), or COCO's captions.

Such a file is read whole. Its pictures lie beside it, in `images`, in the folder of COCO's split (`val2017` for
`captions_val2017.json`), or in one of these beside its own folder.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any

from comem_core.knowledge.corpora.columns import find_columns
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.parquet import cut_rows
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow, Refused
from comem_core.knowledge.corpora.sidecars import read_json

ENDING = ".json"
MAX_BYTES = 2_000_000_000
LOOKED_AT = 100  # rows, to tell what a file holds: a bad row may be the first


class Annotations(Form):
    """One JSON file of rows."""

    def __init__(self, files: Files, name: str, columns: tuple[tuple[str, str], ...] = ()):
        self.files, self.name, self.columns = files, name, columns

    def __deepcopy__(self, _: dict) -> "Annotations":
        return self  # no row is ever changed

    def is_table(self) -> bool:
        """Tell whether the file holds rows with a text or a picture, or is broken, so that it may have held some."""
        if len(self._rows) == 1 and isinstance(self._rows[0], Refused):
            return True
        rows = (row for row in self._rows if isinstance(row, Mapping))
        return any(find_columns(tuple(row), self.columns).keys() & {"image", "text"} for row in islice(rows, LOOKED_AT))

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` rows."""
        return cut_rows(self.name, len(self._rows), size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for number, row in enumerate(self._rows[piece.start : piece.stop], start=piece.row):
            if isinstance(row, Mapping):
                yield RawRow(self.name, number, self._find_picture(row))
            elif isinstance(row, Refused):
                yield RawRow(self.name, number, row)
            else:
                yield RawRow(self.name, number, Refused("wrong_schema", f"not an object but {type(row).__name__}"))

    @cached_property
    def _rows(self) -> list[Any]:
        content = self.files.read(self.name, limit=MAX_BYTES)
        if len(content) > MAX_BYTES:
            raise ValueError(f"{self.name} has more than {MAX_BYTES} bytes; save it as JSON Lines, one object a line")
        try:
            found = read_json(content)
        except Refused as refused:
            return [Refused(refused.reason, f"the file is {refused.detail}")]
        if isinstance(found, Mapping):
            return list(_join_captions(found))
        return found if isinstance(found, list) and any(isinstance(row, Mapping) for row in found) else []

    def _find_picture(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row with its picture's name as it is relative to this file."""
        for column in find_columns(tuple(row), self.columns).get("image", ()):
            if isinstance(name := row[column], str) and "://" not in name and not name.startswith("data:"):
                places = (place + name for place in self._places)
                found = next((each for each in places if self.files.exists(self._folder + each)), name)
                return {**row, column: found}
        return row

    @cached_property
    def _folder(self) -> str:
        folder, slash, _ = self.name.rpartition("/")
        return folder + slash

    @cached_property
    def _places(self) -> tuple[str, ...]:
        return tuple(above + place for above in ("", "../") for place in ("", *(f"{each}/" for each in self._usual)))

    @cached_property
    def _usual(self) -> tuple[str, ...]:
        split = self.name.rpartition("/")[2].removesuffix(ENDING).rpartition("_")[2]
        return ("images", split) if split.isalnum() else ("images",)

    @cached_property
    def beside(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The usual folders of pictures beside the file's own folder."""
        local = self.files.find_local(self.name)
        return tuple(str(local.parent / ".." / each) for each in self._usual) if local else ()


def _join_captions(coco: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a row for each caption of COCO, and for each picture without one; none for another kind of file.

    An entry that is not an object is yielded as it is, and one that cannot be joined is refused with its reason.
    """
    pictures, captions = coco.get("images"), coco.get("annotations")
    if not isinstance(pictures, list) or not isinstance(captions, list):
        return
    entries = [each for each in captions if isinstance(each, Mapping)]
    if not any("caption" in each for each in entries):
        return
    licences = {each.get("id"): each.get("name") for each in coco.get("licenses") or () if isinstance(each, Mapping)}
    named = [each for each in pictures if isinstance(each, Mapping)]
    by_id = {_read_id(each, "id"): each for each in named}
    several = {number for number, count in Counter(_read_id(each, "id") for each in named).items() if count > 1}
    yield from (each for each in [*captions, *pictures] if not isinstance(each, Mapping))
    captioned = {_read_id(each, "image_id") for each in entries}
    for each in [*entries, *({"image_id": number} for number in by_id if number not in captioned)]:
        number = _read_id(each, "image_id")
        if number is None or number not in by_id:
            yield Refused("missing_image", f"no picture of this file has the id {each.get('image_id')!r}")
        elif number in several:
            yield Refused("ambiguous_image", f"several pictures of this file have the id {number}")
        else:
            shown = by_id[number]
            yield {
                "image": shown.get("file_name"),
                "text": each.get("caption"),
                "source": shown.get("flickr_url") or shown.get("coco_url"),
                "licence": licences.get(shown.get("license")),
            }


def _read_id(entry: Mapping[str, Any], name: str) -> int | str | None:
    """Return an entry's number or name; None where it has none."""
    value = entry.get(name)
    return value if isinstance(value, int | str) else None
