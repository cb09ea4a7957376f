"""A folder of pictures with their texts beside them, at any depth, in the order of names.

The text of `a.png` is in `a.txt` or `a.md`, or in `a.json` together with other fields (language, source, licence,
title, entity_id). `a.de.txt` is its text in one of several languages; each language is an item of its own. `a.png.txt`
works too. A picture beside a text may have any ending or none: its content decides. Other files are ignored.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from comem_core.knowledge.corpora.columns import rename_fields
from comem_core.knowledge.corpora.files import Entry, Files
from comem_core.knowledge.corpora.rows import Piece, RawRow, Refused
from comem_core.knowledge.corpora.sidecars import read_fields, read_text
from comem_core.knowledge.pictures import is_likely_picture

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TEXT_ENDINGS = (".txt", ".md")
FIELDS_ENDING = ".json"
LANGUAGE = re.compile(r"(.+)\.([a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)")


@dataclass(frozen=True)
class PictureTextPair:
    """The file names of a picture and of one of its texts; either may be missing."""

    image: str | None
    text: str | None = None
    language: str | None = None
    fields: str | None = None


class Folder:
    """The pictures and texts of a folder.

    With `strict`, a picture without a text is a bad row; otherwise it belongs to a table in the folder. With
    `texts_alone`, a text without a picture is a row.
    """

    def __init__(self, files: Files, *, strict: bool, texts_alone: bool):
        self.files, self.strict, self.texts_alone = files, strict, texts_alone

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the listing into pieces of `size` pairs."""
        waiting: list[PictureTextPair] = []
        row = 1
        for pairs in map(self._make_pairs, self.files.list_folders()):
            waiting += pairs
            while len(waiting) >= size:
                yield Piece(row=row, entries=tuple(waiting[:size]))
                row, waiting = row + size, waiting[size:]
        if waiting:
            yield Piece(row=row, entries=tuple(waiting))

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for number, pair in enumerate(piece.entries, start=piece.row):
            try:
                fields = self._read_fields(pair)
            except Refused as refused:
                fields = refused
            yield RawRow(pair.image or pair.text or "", number, fields)

    def _read_fields(self, pair: PictureTextPair) -> Mapping[str, object]:
        if pair.image is None and not self.texts_alone:
            assert pair.text is not None
            stem = pair.text.rpartition("/")[2].rpartition(".")[0]
            raise Refused("missing_image", f"no image named {stem} ({', '.join(IMAGE_ENDINGS)}) beside the text")
        fields = rename_fields(read_fields(self.files, pair.fields)) if pair.fields else {}
        if pair.text is not None:
            fields |= {"text": read_text(self.files, pair.text)}
        if not fields.get("text"):
            beside = f"{(pair.image or '').rpartition('/')[2].rpartition('.')[0]}.txt"
            raise Refused("missing_text", "the text is empty" if pair.text else f"no {beside} beside the image")
        picture = {"image": pair.image.rpartition("/")[2] if pair.image else None}
        return fields | picture | ({"language": pair.language} if pair.language else {})

    def _make_pairs(self, entries: Sequence[Entry]) -> list[PictureTextPair]:
        """Pair the pictures and texts of one folder: first the pictures in order, then texts without a picture."""
        texts = {entry.name for entry in entries if entry.name.lower().endswith(TEXT_ENDINGS)}
        fields = {_stem(entry.name): entry.name for entry in entries if entry.name.lower().endswith(FIELDS_ENDING)}
        beside = _group_by_stem(texts)
        others = [entry.name for entry in entries if entry.name not in texts and entry.name not in fields.values()]
        named = [name for name in others if name.lower().endswith(IMAGE_ENDINGS)]
        taken = {stem for name in named for stem in (_stem(name), name)}
        named += [name for name in others if self._is_odd_picture(name, {*beside, *fields} - taken)]
        pairs, used, pictured = [], set(), {*named, *map(_stem, named)}
        for name in sorted(named):
            found = {each for stem in (_stem(name), name) for each in beside.get(stem, ())}
            own = sorted((each for each in found if each[1] is None or _stem(each[0]) not in pictured), key=str)
            described = fields.get(_stem(name)) or fields.get(name)
            used |= {text for text, _ in own}
            if own:
                pairs += [PictureTextPair(name, text, language, described) for text, language in own]
            elif described or self.strict:
                pairs.append(PictureTextPair(name, fields=described))
        return pairs + [PictureTextPair(None, text) for text in sorted(texts - used) if self._is_row(text)]

    def _is_odd_picture(self, name: str, stems: set[str]) -> bool:
        """Tell whether a file without a picture's ending is a picture, beside a text that has no other picture."""
        if name.lower().endswith(IMAGE_ENDINGS) or not {_stem(name), name} & stems:
            return False
        try:
            return is_likely_picture(self.files.read(name, limit=15))
        except OSError:
            return False

    def _is_row(self, text: str) -> bool:
        """Tell whether a text without a picture is a row. A .md file such as README.md is one only if `texts_alone`."""
        return self.texts_alone or (self.strict and not text.lower().endswith(".md"))


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _group_by_stem(texts: set[str]) -> dict[str, list[tuple[str, str | None]]]:
    """Map each stem to the texts (name, language or None) that may belong to a picture with that stem."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in sorted(texts):
        found.setdefault(_stem(name), []).append((name, None))
        if match := LANGUAGE.fullmatch(_stem(name)):
            found.setdefault(match[1], []).append((name, match[2]))
    return found
