"""A benchmark's files as released: which ones a part needs, where they are in its folder, and a hash of their content.

Files are found by name, at any depth. Links are followed in the folder, into those of other benchmarks beside it and
into the folders of COMEM_DATA_ROOTS, so that large pictures need not be copied. Nothing is downloaded: a missing file
is an error that says where to get it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from comem_core.data_roots import DataRoots, read_data_roots
from comem_core.evaluation.annotations.asking import AnnotatedQuestion, put_in_order
from comem_core.evaluation.annotations.pictures import (
    ARCHIVES,
    COMPRESSED_WHOLE,
    PictureFiles,
    PictureSources,
    is_picture,
    open_pictures,
)
from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks
from comem_core.knowledge.items import Question

SHOWN_FILES = 8
BLOCK_BYTES = 1 << 20

Found = Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Needed:
    """A file, or several of one kind, that a part needs: all that match the first of `patterns` with any match."""

    patterns: tuple[str, ...]
    optional: bool = False


def need(*patterns: str, optional: bool = False) -> Needed:
    return Needed(patterns, optional)


@dataclass(frozen=True)
class File:
    """A file below a benchmark's folder: its path, its path from the folder, its size, and when it changed (ns)."""

    path: Path
    name: str
    size: int
    changed: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """The files of a benchmark, and how they become questions.

    `parts` gives for each part the files that it needs, by role. `asked` gets the part and the files found, by role; a
    missing optional file is an empty tuple. `files` says in words what the folder (FOLDER) must hold and where to get
    it.
    """

    benchmark: str
    files: str
    parts: Mapping[str, Mapping[str, Needed]]
    asked: Callable[[str, Found], Iterator[AnnotatedQuestion | MissingQuestion]]

    def read(self, part: str, folder: Path | None) -> Iterator[Question | MissingQuestion]:
        """Return the questions of a part, and its missing ones, in an order of which any prefix is a fair sample.

        Raises ValueError for an unknown part, and for a folder without the files that the part needs.
        """
        files = self._list_files(folder)
        return put_in_order(self.asked(part, self._find_needed(part, files, folder)), find_pictures(files))

    def name_revision(self, part: str, folder: Path | None) -> str:
        """Hash the content of the annotation files, and the names and sizes of the pictures (16 hex digits).

        Where the files are, and whether pictures are in an archive, makes no difference. Raises ValueError as `read`
        does.
        """
        files = self._list_files(folder)
        digest = hashlib.sha256()
        found = self._find_needed(part, files, folder)
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

    def _list_files(self, folder: Path | None) -> list[File]:
        if folder is None or not folder.is_dir():
            raise ValueError(
                f"{self.benchmark} needs a folder with its files; found {folder}. {self._describe_wanted(folder)}"
            )
        return list(list_files(folder, beside=find_all_benchmarks()))

    def _find_needed(self, part: str, files: Sequence[File], folder: Path | None) -> Found:
        if part not in self.parts:
            raise ValueError(f"{self.benchmark} has no part {part!r}; allowed are {', '.join(self.parts)}")
        found = {role: _find_matching(each, files) for role, each in self.parts[part].items()}
        absent = [each for role, each in self.parts[part].items() if not found[role] and not each.optional]
        if absent:
            wanted = "; ".join(" or ".join(each.patterns) for each in absent)
            there = [file.name for file in files if not is_picture(PurePosixPath(file.name))]
            shown = ", ".join(there[:SHOWN_FILES]) or "no files except pictures"
            raise ValueError(
                f"{self.benchmark}, part {part}: looked for {wanted}; found {shown}. {self._describe_wanted(folder)}"
            )
        return found

    def _describe_wanted(self, folder: Path | None) -> str:
        return f"It should hold {self.files}".replace("FOLDER", str(folder or "FOLDER"))


def list_files(folder: Path, beside: Iterable[str] = ()) -> Iterator[File]:
    """Yield the files of a folder at any depth, sorted, without hidden ones; each real folder is entered once.

    Links may lead into the folders `beside` it, by name, too. Raises OutsideRoots for one that leads elsewhere.
    """
    entered: set[str] = set()
    roots = DataRoots.of(folder, (*read_data_roots(), *(str(folder.parent / name) for name in beside)))
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        roots.check(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(place, name)
            if path.is_file():
                if path.is_symlink():
                    roots.check(path)
                state = path.stat()
                yield File(path, path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns)


def find_pictures(files: Sequence[File]) -> PictureSources:
    """List the pictures that are files, then those in archives, in the order of the archives' names."""
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
    """Hash the content of a file, once in this process as long as its size and time stay the same."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _find_matching(needed: Needed, files: Sequence[File]) -> tuple[Path, ...]:
    for pattern in needed.patterns:
        if matching := tuple(file.path for file in files if PurePosixPath(file.name).match(pattern)):
            return matching
    return ()
