"""A folder of pictures with their texts beside them, at any depth, in the order of names; or a tar file of such.

The text of `a.png` is in `a.txt` or `a.md`, or in `a.json` together with other fields (language, source, licence,
title, entity_id). `a.de.txt` is its text in one of several languages; each language is an item of its own. A text
without a picture may state its language likewise. `a.png.txt` works too. A picture beside a text may have any ending or
none: its content decides. Other files are left out, each with a reason. A tar file is WebDataset's: the files of a
sample have the same name and different endings.
"""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from functools import partial as bind

from comem_core.data_roots import OUTSIDE
from comem_core.knowledge.corpora.columns import rename_fields
from comem_core.knowledge.corpora.conversations import join_turns
from comem_core.knowledge.corpora.files import Entry, Files, FolderListing, LeftOut
from comem_core.knowledge.corpora.making.fields import FieldReader
from comem_core.knowledge.corpora.rows import CorpusFile, Form, Piece, RawRow, ReadingOptions, Refused, UnreadRow
from comem_core.knowledge.corpora.sidecars import read_fields, read_text
from comem_core.knowledge.known_rows import make_key
from comem_core.knowledge.languages import is_language
from comem_core.knowledge.pictures import IMAGE_ENDINGS, MAX_BYTES, is_likely_picture

TEXT_ENDINGS = (".txt", ".md")
FIELDS_ENDING = ".json"
HERE = "./"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class PictureTextPair:
    """The file names of a picture and of one of its texts; either may be missing. Or a `fault` of the file that should
    have held more of them. `stamp` changes when one of the files does, if that can be told without opening them."""

    image: str | None
    text: str | None = None
    language: str | None = None
    fields: str | None = None
    fault: LeftOut | None = None
    stamp: bytes | None = None

    @property
    def name(self) -> str:
        return self.image or self.text or ""


class Folder(Form):
    """The pictures and texts of a folder, or of the tar file `inside`.

    Files of other forms (`taken`) and files that only describe (`describing`) are not among them. With `reading.images`
    "optional", a text without a picture is a row. A picture without a text is one, unless a row of `tables` names it.
    """

    def __init__(
        self,
        files: Files,
        reading: ReadingOptions,
        *,
        taken: Collection[str] = (),
        describing: Collection[str] = (),
        tables: Sequence[Form] = (),
        inside: str = "",
        version: object = None,
    ):
        self.files, self.reading, self.tables, self.inside, self.version = files, reading, tables, inside, version
        self._listed: list[CorpusFile] | None = None
        self.name, self.taken, self.describing = inside.rstrip("/"), frozenset(taken), frozenset(describing)

    @property
    def texts_alone(self) -> bool:
        return self.reading.images == "optional"

    @cached_property
    def _fault(self) -> LeftOut | None:
        """What is lost of a tar file that is cut off."""
        found = self.files.find_fault()
        return replace(found, name=self.inside.rstrip("/") or found.name) if found else None

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the listing into pieces of `size` pairs. A link out of the corpus is a row too. Of a tar file that is cut
        off, the last row says so."""
        waiting: list[PictureTextPair] = []
        row, files = 1, [CorpusFile(self._fault.name)] if self._fault else []
        for listed in self.files.list_folders():
            pairs, left_out = self._sort(listed)
            # First the links, which say why the pairs of their files are incomplete.
            waiting += [PictureTextPair(None, fault=each) for each in listed.left_out if each.reason == OUTSIDE]
            waiting += pairs
            files += self._describe_files(listed, left_out)
            while len(waiting) >= size:
                yield Piece(row=row, num_rows=size, entries=tuple(waiting[:size]))
                row, waiting = row + size, waiting[size:]
        if self._fault:
            waiting.append(PictureTextPair(None, fault=self._fault))
        if waiting:
            yield Piece(row=row, num_rows=len(waiting), entries=tuple(waiting))
        self._listed = files

    def list_files(self) -> Iterator[CorpusFile]:
        """Yield each folder with the number of its files that are read, and each file that is left out.

        If the whole folder was cut into pieces before, these are the files that were seen then.
        """
        if self._listed is None:
            for _ in self.cut_into_pieces(ROWS_AT_ONCE):
                pass
        yield from self._listed or ()

    def _describe_files(self, listed: FolderListing, left_out: list[LeftOut]) -> Iterator[CorpusFile]:
        if num_read := sum(entry.name not in self.taken for entry in listed.entries) - len(left_out):
            yield CorpusFile(self.inside + listed.folder or HERE, num_read)
        for each in (*listed.left_out, *left_out):
            if each.reason == OUTSIDE:  # a bad row, with this reason
                yield CorpusFile(each.name)
            else:
                yield CorpusFile(self.inside + each.name, reason=each.reason, detail=each.detail)

    def count_rows(self, piece: Piece) -> Counter[str]:
        return Counter(
            pair.fault.name if pair.fault else find_folder(self.inside + pair.name) for pair in piece.entries
        )

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        return (row.read() for row in self.list_rows(piece))

    def list_rows(self, piece: Piece) -> Iterator[UnreadRow]:
        for number, pair in enumerate(piece.entries, start=piece.row):
            file = pair.fault.name if pair.fault else self.inside + pair.name
            yield UnreadRow(pair.stamp, pair.language is None, file, number, bind(self._read_row, file, number, pair))

    def _read_row(self, file: str, number: int, pair: PictureTextPair) -> RawRow:
        try:
            return RawRow(file, number, self._read_fields(pair))
        except Refused as refused:
            return RawRow(file, number, refused)

    def _read_fields(self, pair: PictureTextPair) -> Mapping[str, object]:
        if pair.fault:
            raise Refused(pair.fault.reason, pair.fault.detail)
        if twice := sorted({pair.image, pair.text, pair.fields} & {*self.files.names_used_twice}, key=str):
            raise Refused(
                "duplicate_name",
                f"{', '.join(map(str, twice))}: more than once in this file, so that it is not sure which picture and "
                "text belong together; give each a name of its own",
            )
        if pair.image is None and not self.texts_alone:
            assert pair.text is not None
            stem = pair.text.rpartition("/")[2].rpartition(".")[0]
            raise Refused("missing_image", f"no image named {stem} ({', '.join(IMAGE_ENDINGS)}) beside the text")
        fields = rename_fields(read_fields(self.files, pair.fields)) if pair.fields else {}
        if pair.text is not None:
            fields |= {"text": read_text(self.files, pair.text)}
        if (text := fields.get("text")) and not (isinstance(text, str) or (type(text) is list and join_turns(text))):
            described = (pair.fields or "").rpartition("/")[2]
            raise Refused("wrong_schema", f"{described}: expected the text as a string; found {type(text).__name__}")
        if not fields.get("text"):
            raise Refused("missing_text", _describe_missing_text(pair, fields))
        picture = {"image": self._read_picture(pair.image) if pair.image else None}
        return fields | picture | ({"language": pair.language} if pair.language else {})

    def _read_picture(self, name: str) -> str | bytes:
        """Return the name of a picture relative to its folder, or its bytes if it is in a tar file."""
        return self.files.read(name, limit=MAX_BYTES) if self.inside else name.rpartition("/")[2]

    def _sort(self, listed: FolderListing) -> tuple[list[PictureTextPair], list[LeftOut]]:
        """Pair the pictures and texts of one folder, and list the files that are left out.

        First come the pictures in order, then the texts without a picture.
        """
        not_ours = self.taken | self.describing
        versions = {entry.name: entry for entry in listed.entries if entry.name not in not_ours}
        names = list(versions)
        texts = {name for name in names if name.lower().endswith(TEXT_ENDINGS)}
        fields = {_stem(name): name for name in names if name.lower().endswith(FIELDS_ENDING)}
        beside, described_by = _group_by_stem(texts), set(fields.values())
        others = [name for name in names if name not in texts and name not in described_by]
        pictures = [name for name in others if name.lower().endswith(IMAGE_ENDINGS)]
        without = {*beside, *fields} - {stem for name in pictures for stem in (_stem(name), _compose(name))}
        pictures += [name for name in others if self._is_odd_picture(name, without)]
        pairs, used, pictured = [], set(), {stem for name in pictures for stem in (_stem(name), _compose(name))}
        for name in sorted(pictures):
            found = {each for stem in (_stem(name), _compose(name)) for each in beside.get(stem, ())}
            own = sorted((each for each in found if each[1] is None or _stem(each[0]) not in pictured), key=str)
            described = fields.get(_stem(name)) or fields.get(_compose(name))
            used |= {name, described, *(text for text, _ in own)}
            pairs += [PictureTextPair(name, text, language, described) for text, language in own]
            if not own and (described or not self._is_named(name)):
                pairs.append(PictureTextPair(name, fields=described))
        left_out = [
            reason for name in names if name not in used and (reason := self._find_reason(name, texts, pictured))
        ]
        alone = texts - used - {each.name for each in left_out}
        pairs += [PictureTextPair(None, text, _find_language(text)) for text in sorted(alone)]
        return [replace(pair, stamp=self._find_stamp(pair, versions)) for pair in pairs], left_out

    def _find_stamp(self, pair: PictureTextPair, versions: Mapping[str, Entry]) -> bytes | None:
        """Return what changes when a file of the pair does; None where only its content tells.

        In a tar file that is that file's version: times of its members may be any.
        """
        files = [versions[name] for name in (pair.image, pair.text, pair.fields) if name]
        known = self.version is not None or all(file.changed is not None for file in files)
        if not known or (self.files.names_used_twice and not self.inside):
            return None
        names, told = (pair.image, pair.text, pair.fields, pair.language), (self._place, self.version)
        return make_key(*told, *names, *((file.size, file.stamp, file.changed) for file in files))

    @cached_property
    def _place(self) -> str:
        return self.inside or self.files.find_path("")

    def _find_reason(self, name: str, texts: set[str], pictured: set[str]) -> LeftOut | None:
        """Return why a file that belongs to no pair is left out; None for a text that is a row of its own."""
        if name not in texts:
            return LeftOut(name, "other_kind", "not a picture, a text or a table, nor a .json file beside a picture")
        stem, _, word = _stem(name).rpartition(".")
        if stem in pictured and "/" not in word:
            return LeftOut(
                name,
                "unknown_suffix",
                f"{word!r} is not a language; the picture's text is {stem.rpartition('/')[2]}.txt",
            )
        if self.texts_alone or not name.lower().endswith(".md"):
            return None
        return LeftOut(name, "other_kind", "a .md file without a picture")

    def _is_named(self, name: str) -> bool:
        return _compose(name) in self._named

    @cached_property
    def _named(self) -> frozenset[str]:
        """The files that rows of the tables name as their pictures. Read only if a picture has no text beside it."""
        reader = FieldReader(files=self.files, reading=self.reading)
        rows = (
            row
            for table in self.tables
            for piece in table.cut_into_pieces(ROWS_AT_ONCE)
            for row in table.read_names(piece)
        )
        return frozenset(_compose(posixpath.normpath(name)) for row in rows for name in reader.list_pictures(row))

    def _is_odd_picture(self, name: str, stems: set[str]) -> bool:
        """Tell whether a file without a picture's ending is a picture, beside a text that has no other picture."""
        if name.lower().endswith(IMAGE_ENDINGS) or not {_stem(name), _compose(name)} & stems:
            return False
        try:
            return is_likely_picture(self.files.read(name, limit=15))
        except OSError:
            return False


def _describe_missing_text(pair: PictureTextPair, fields: Mapping[str, object]) -> str:
    if pair.text:
        return "the text is empty"
    beside = f"{(pair.image or '').rpartition('/')[2].rpartition('.')[0]}.txt"
    if pair.fields is None:
        return f"no {beside} beside the image"
    described = pair.fields.rpartition("/")[2]
    if "text" in fields:
        return f"the text in {described} is empty"
    return f"{described} has no field for a text, such as text or caption, and no {beside} is beside the image"


def find_folder(name: str) -> str:
    """Return the folder of a file as `Folder.list_files` names it."""
    return name.rpartition("/")[0] + "/" if "/" in name else HERE


def _compose(name: str) -> str:
    """Return a name in the one form of Unicode in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    folder, slash, last = _compose(name).rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _find_language(text: str) -> str | None:
    """Return the language that a text's name states: de of a.de.txt."""
    stem, _, word = _stem(text).rpartition("/")[2].rpartition(".")
    return word if stem and is_language(word) else None


def _group_by_stem(texts: set[str]) -> dict[str, list[tuple[str, str | None]]]:
    """Map each stem to the texts (name, language or None) that may belong to a picture with that stem."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in sorted(texts):
        found.setdefault(_stem(name), []).append((name, None))
        stem, _, word = _stem(name).rpartition(".")
        if stem and is_language(word):
            found.setdefault(stem, []).append((name, word))
    return found
