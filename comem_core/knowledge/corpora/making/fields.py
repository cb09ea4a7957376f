"""Reads the fields of a raw row under our names, and finds pictures that lie beside a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from comem_core.data_roots import OUTSIDE, OutsideRoots
from comem_core.knowledge.corpora.columns import SAMPLE, is_stored_picture, rename_fields
from comem_core.knowledge.corpora.conversations import join_turns
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import RawRow, ReadingOptions, Refused
from comem_core.knowledge.corpora.wit import is_wit, rename_wit_fields
from comem_core.knowledge.downloads import Downloads
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.pictures import IMAGE_ENDINGS, MAX_BYTES

ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class FieldReader:
    """Reads the fields of rows of one corpus. `downloads` fetches addresses; None: addresses are not allowed."""

    files: Files
    reading: ReadingOptions
    downloads: Downloads | None = None

    def read(self, raw: RawRow) -> dict[str, Any] | KnowledgeItem | Refused:
        """Return the fields of a row; a ready item or a fault stays what it is."""
        if not isinstance(raw.fields, Mapping):
            return raw.fields
        if is_wit(tuple(raw.fields)) and not self.reading.columns:
            return self._prefer_downloaded(raw, rename_wit_fields(raw.fields))
        fields = rename_fields(raw.fields, self.reading.columns)
        if fields.get("image") is None and (picture := next(filter(is_stored_picture, raw.fields.values()), None)):
            fields["image"] = picture
        image = fields.get("image")
        if type(image) is list and len(image) == 1:
            fields["image"] = image = image[0]
        return self._find_sample(raw, fields) if SAMPLE[0] in raw.fields and is_address(image) else fields

    def _find_sample(self, raw: RawRow, fields: dict[str, Any]) -> dict[str, Any] | Refused:
        """Find what img2dataset made of a row of the table that it writes beside its files, or beside their tar file.

        If picture and text are files, they are an item already; of a picture without a text, the row is the item.
        """
        stem, folder = raw.file.rpartition(".")[0], find_file_name(raw.file, "")
        assert isinstance(raw.fields, Mapping)
        key, status, error = map(raw.fields.get, SAMPLE)
        for files, place in (
            (self.files, f"{stem}/"),
            (self.files, folder),
            (_open_tar(self.files, f"{stem}.tar"), ""),
        ):
            if files is None:
                continue
            picture = next((f"{place}{key}{end}" for end in IMAGE_ENDINGS if files.exists(f"{place}{key}{end}")), None)
            if picture and any(files.exists(f"{place}{key}{end}") for end in (".txt", ".json")):
                return Refused("duplicate_id", f"the same sample as {picture}, which has its text beside it")
            try:
                if picture:
                    return fields | {"image": files.read(picture, limit=MAX_BYTES)}
            except OutsideRoots as error:  # the key has `..` in it
                return Refused(OUTSIDE, str(error))
        if status not in (None, "success") and self.reading.images == "needed" and self.downloads is None:
            return Refused("missing_image", f"img2dataset did not get {fields['image']}: {status}, {error}")
        return fields

    def _prefer_downloaded(self, raw: RawRow, fields: dict[str, Any]) -> dict[str, Any]:
        """If the row has only an address, take the picture that was already downloaded beside the table."""
        names = fields.pop("downloaded")
        if is_address(fields["image"]):
            beside = (name for name in names if self.files.exists(find_file_name(raw.file, name)))
            fields["image"] = next(beside, fields["image"])
        return fields

    def list_pictures(self, raw: RawRow) -> list[str]:
        """List the files of the corpus that may hold the row's picture."""
        fields = self.read(raw)
        image = fields.get("image") if isinstance(fields, dict) else None
        paths = (
            each.get("path") if isinstance(each, Mapping) else each
            for each in (image if type(image) is list else [image])
        )
        return [find_file_name(raw.file, path) for path in paths if isinstance(path, str) and not is_address(path)]


def is_address(image: Any) -> bool:
    """Tell whether a field is the address of a picture."""
    return isinstance(image, str) and image.lower().startswith(ADDRESSES)


def find_file_name(file: str, name: str) -> str:
    """Return the name in the corpus of a file that a row of `file` names relative to itself."""
    folder = file.rpartition("/")[0]
    return name if name.startswith("/") or not folder else f"{folder}/{name}"


def read_row_text(fields: Mapping[str, Any]) -> str:
    """Return the text of a row, if it is one; the turns of a conversation are joined, as are several captions."""
    text = fields.get("text")
    return text if type(text) is str else join_turns(text) if type(text) is list else ""


@lru_cache(maxsize=8)
def _open_tar(files: Files, name: str) -> Files | None:
    return files.open_tar(name) if files.exists(name) else None
