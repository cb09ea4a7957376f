"""A benchmark's files as released: which ones a part needs, where they lie in its folder, and what names their content.

Files are found by name, at any depth. Links to folders are followed, so that large pictures need not be copied. Nothing
is downloaded: what is not there is an error that says where it comes from.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from comem_core.evaluation.annotations.asking import AnnotatedQuestion, put_in_order
from comem_core.evaluation.annotations.pictures import (
    ARCHIVES,
    COMPRESSED_WHOLE,
    PictureFiles,
    PictureSources,
    is_picture,
    open_pictures,
)
from comem_core.evaluation.benchmarks import Missing
from comem_core.knowledge.items import Question

SHOWN_FILES = 8
BLOCK_BYTES = 1 << 20

Found = Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Needed:
    """A file, or several of one kind, that a part needs: by the first of `patterns` that any file's path ends in."""

    patterns: tuple[str, ...]
    optional: bool = False


def need(*patterns: str, optional: bool = False) -> Needed:
    return Needed(patterns, optional)


@dataclass(frozen=True)
class File:
    """A file below a benchmark's folder: where it is, its path from there, and its size."""

    path: Path
    name: str
    size: int
    changed: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """The files of a benchmark, and how they become questions.

    `parts` names for each part the files that it needs; `asked` is given the part and those that were found, each by
    the name it has there (an optional one that is not there has none). `files` says in words what the folder (FOLDER)
    must hold and where that comes from.
    """

    benchmark: str
    files: str
    parts: Mapping[str, Mapping[str, Needed]]
    asked: Callable[[str, Found], Iterator[AnnotatedQuestion | Missing]]

    def read(self, part: str, folder: Path | None) -> Iterator[Question | Missing]:
        """Return the questions of a part, and what is missing of it, in an order any beginning of which is fair.

        Raises ValueError for an unknown part, and for a folder without the files that the part needs.
        """
        files = self._files_in(folder)
        return put_in_order(self.asked(part, self._found(part, files, folder)), find_pictures(files))

    def name_revision(self, part: str, folder: Path | None) -> str:
        """Name the content of the annotation files, and the pictures by name and size (16 hex digits).

        Where they lie says nothing, nor whether pictures are packed. Raises ValueError as `read` does.
        """
        files = self._files_in(folder)
        digest = hashlib.sha256()
        found = self._found(part, files, folder)
        by_path = {file.path: file for file in files}
        for role in sorted(found):
            for path in found[role]:
                file = by_path[path]
                digest.update(f"{role}\0{hash_content(path, file.size, file.changed)}\n".encode())
        pictures = {
            (PurePosixPath(name).name, size)
            for source in find_pictures(files).sources
            for name, size in source.sizes.items()
        }
        for name, size in sorted(pictures):
            digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def _files_in(self, folder: Path | None) -> list[File]:
        if folder is None or not folder.is_dir():
            raise ValueError(f"{self.benchmark} needs a folder with its files; found {folder}. {self._wanted(folder)}")
        return list(list_files(folder))

    def _found(self, part: str, files: Sequence[File], folder: Path | None) -> Found:
        if part not in self.parts:
            raise ValueError(f"{self.benchmark} has no part {part!r}; allowed are {', '.join(self.parts)}")
        found = {role: _matching(each, files) for role, each in self.parts[part].items()}
        absent = [each for role, each in self.parts[part].items() if not found[role] and not each.optional]
        if absent:
            wanted = "; ".join(" or ".join(each.patterns) for each in absent)
            there = [file.name for file in files if not is_picture(PurePosixPath(file.name))]
            shown = ", ".join(there[:SHOWN_FILES]) or "only pictures"
            raise ValueError(
                f"{self.benchmark}, part {part}: looked for {wanted}; found {shown}. {self._wanted(folder)}"
            )
        return found

    def _wanted(self, folder: Path | None) -> str:
        return f"It should hold {self.files}".replace("FOLDER", str(folder or "FOLDER"))


def list_files(folder: Path) -> Iterator[File]:
    """Yield the files of a folder at any depth, sorted, hidden ones left out; a circle of links is gone round once."""
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(place, name)
            if path.is_file():
                state = path.stat()
                yield File(path, path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns)


def find_pictures(files: Sequence[File]) -> PictureSources:
    """Look at the pictures that lie loose, then at those in archives, by the archives' names."""
    loose = {file.name: file for file in files if is_picture(PurePosixPath(file.name))}
    sizes = {name: file.size for name, file in loose.items()}
    sources = [
        PictureFiles(
            sizes, lambda name: loose[name].path.read_bytes(), lambda name: (loose[name].size, loose[name].changed)
        )
    ]
    unread = [file.name for file in files if file.name.lower().endswith(COMPRESSED_WHOLE)]
    for file in files:
        if PurePosixPath(file.name).suffix.lower() in ARCHIVES:
            try:
                sources.append(open_pictures(file.path))
            except ValueError:
                unread.append(file.name)
    return PictureSources(sources, unread)


@lru_cache(maxsize=1024)
def hash_content(path: Path, size: int, changed: int) -> str:
    """Hash what a file holds, once in this process as long as its size and time stay."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _matching(needed: Needed, files: Sequence[File]) -> tuple[Path, ...]:
    for pattern in needed.patterns:
        if matching := tuple(file.path for file in files if PurePosixPath(file.name).match(pattern)):
            return matching
    return ()
