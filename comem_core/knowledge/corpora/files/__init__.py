"""The files of a corpus, at a local path or any address that fsspec knows. Names are relative to it.

What is not listed is left out with a reason. Independent of what the files contain.
"""

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

from fsspec.compression import compr
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.implementations.zip import ZipFileSystem
from fsspec.utils import infer_compression

from comem_core.addresses.faults import shorten
from comem_core.data_roots import DataRoots, OutsideRoots, describe_outside
from comem_core.knowledge.corpora.files.listing import (
    Entry,
    FolderListing,
    LeftOut,
    list_local_folders,
    list_remote_folders,
    make_entry,
)
from comem_core.knowledge.tars import BROKEN, PROTOCOL, CheckedTar

MOST_HELD = 250_000  # files of a listing that is kept: some 70 MB


@dataclass(frozen=True)
class Files:
    """A folder of files, or one file in it, named by `only`. Made by `find_files`; workers get a copy.

    Names lead only into the folder or, on this machine, into the folders `roots`.
    """

    address: str
    only: str | None = None
    roots: tuple[str, ...] = ()

    @cached_property
    def _place(self) -> tuple[Any, str]:
        filesystem, root = _open(self.address)
        return filesystem, root.rstrip("/")

    @cached_property
    def _roots(self) -> DataRoots:
        return DataRoots.of(self._place[1] or "/", self.roots)

    def find_path(self, name: str) -> str:
        """Return the path of a file in its filesystem; a name that starts at the root is returned as it is."""
        root = self._place[1]
        return name if name.startswith("/") or not root else f"{root}/{name}"

    def open(self, name: str, *, compression: str | None = None) -> IO[bytes]:
        """Open a file for reading. `compression` "infer" decompresses by the name's ending. Raises OSError,
        and OutsideRoots for a name that leads elsewhere."""
        filesystem, name = self._place[0], self._find_name(name)
        self._check(name)
        if isinstance(filesystem, MemoryFileSystem):  # all its readers share one file object and its position
            content = BytesIO(filesystem.cat_file(self.find_path(name)))
            kind = infer_compression(name) if compression == "infer" else compression
            unpackers: Any = compr
            return unpackers[kind](content, mode="rb")
        return filesystem.open(self.find_path(name), "rb", compression=compression)

    def read(self, name: str, *, limit: int) -> bytes:
        """Read a file, but no more than `limit` + 1 bytes. Raises OSError."""
        with self.open(name) as stream:
            return stream.read(limit + 1)

    def find_local(self, name: str) -> Path | None:
        """Return the path of a file on this machine, or None if it is remote. Raises OutsideRoots as `open`."""
        self._check(name)
        return Path(self.find_path(name)) if isinstance(self._place[0], LocalFileSystem) else None

    def find_version(self, name: str) -> tuple[str, int, int, int] | None:
        """Return path, size and times of a local file, which tell that it did not change; None if it is not there."""
        if not isinstance(self._place[0], LocalFileSystem):
            return None
        path = self.find_path(self._find_name(name))
        try:
            self._check(name)
            state = os.stat(path)
        except (OSError, ValueError):  # ValueError: no file can have this name, or it may not be read
            return None
        return path, state.st_size, state.st_mtime_ns, state.st_ctime_ns

    def exists(self, name: str) -> bool:
        return self._place[0].isfile(self.find_path(self._find_name(name)))

    def _check(self, name: str) -> None:
        """Refuse a name that leads elsewhere; the file that the user named may be a link. Raises OutsideRoots."""
        filesystem, root = self._place
        if name == self.only:
            return
        path = self.find_path(name)
        if isinstance(filesystem, LocalFileSystem):
            self._roots.check(path)
        elif not is_below(path, root):
            raise OutsideRoots(describe_outside(name, posixpath.normpath(path), root or self.address))

    def _find_name(self, name: str) -> str:
        """Return the form of a name that a file has: some systems write `é` as one character, some as two."""
        if name.isascii() or self._place[0].isfile(self.find_path(name)):
            return name
        forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        return next((form for form in forms if self._place[0].isfile(self.find_path(form))), name)

    def open_tar(self, name: str) -> "Files":
        """Return the files in a tar file, compressed or not."""
        inner, chained, outer = self.address.partition("::")
        return Files(f"{PROTOCOL}://::{inner.rstrip('/')}/{name}{chained}{outer}")

    @cached_property
    def names_used_twice(self) -> frozenset[str]:
        """The names that a tar or zip file has more than once."""
        filesystem = self._place[0]
        if isinstance(filesystem, ZipFileSystem):
            counts = Counter(filesystem.zip.namelist())
            return frozenset(name for name, count in counts.items() if count > 1)
        return filesystem.twice if isinstance(filesystem, CheckedTar) else frozenset()

    def find_fault(self) -> LeftOut | None:
        """Return the name of a tar file that is cut off, and what is lost; None if all of it can be read."""
        cut_off = self._place[0].cut_off if isinstance(self._place[0], CheckedTar) else None
        name = self.address.rpartition("/")[2]
        return LeftOut(name, "cut_off", f"{name} is damaged or cut off: {cut_off}") if cut_off else None

    def list_folders(self) -> Iterator[FolderListing]:
        """Yield the sorted files of each folder, parents before their subfolders. Hidden files are left out.

        A listing of at most MOST_HELD files is kept, so that a corpus is named and read by the same one.
        """
        if (kept := self.__dict__.get("kept")) is not None:
            yield from kept
            return
        kept, num_files = [], 0
        for listed in self._list_folders():
            num_files += len(listed.entries)
            if num_files <= MOST_HELD:
                kept.append(listed)
            yield listed
        if num_files <= MOST_HELD:
            self.__dict__["kept"] = kept

    def __deepcopy__(self, _: dict) -> "Files":
        return self  # nothing of it is ever changed

    def _list_folders(self) -> Iterator[FolderListing]:
        filesystem, root = self._place
        if self.only is not None:
            yield FolderListing("", [make_entry(self.only, filesystem.info(self.find_path(self.only)))], [])
        elif isinstance(filesystem, LocalFileSystem):
            yield from list_local_folders(self._roots)
        else:
            yield from list_remote_folders(filesystem, root)

    def list_entries(self) -> Iterator[Entry]:
        """Yield all files of `list_folders`."""
        for listed in self.list_folders():
            yield from listed.entries

    def name_content(self) -> str:
        """Hash the files' names, sizes and times (16 hex digits); the files themselves are not read."""
        digest = sha256()
        for entry in self.list_entries():
            digest.update(f"{entry.name}\0{entry.size}\0{entry.stamp}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def find_files(corpus: str, roots: tuple[str, ...] = ()) -> Files | None:
    """Find the folder or the file at a path or address; None if there is nothing. Names in it may lead into `roots`.

    Raises ValueError for an address that fsspec does not know, or lacks a package for, or where nobody answers.
    """
    filesystem, path = _open(corpus)
    try:
        is_folder, is_file = filesystem.isdir(path), filesystem.isfile(path)
    except Exception as error:  # each filesystem has errors of its own
        if "://" not in corpus:
            raise
        raise ValueError(
            f"corpus {corpus!r} cannot be looked at: {shorten(error)}. Look at the address, the network and the "
            "credentials of its filesystem"
        ) from error
    if is_folder:
        return Files(corpus, roots=roots)
    if not is_file:
        return None
    head, _, name = path.rstrip("/").rpartition("/")
    if "://" not in corpus:
        return Files(head or "/", only=name, roots=roots)
    inner, chained, outer = corpus.partition("::")
    protocol, _, rest = inner.partition("://")
    return Files(f"{protocol}://{rest.rstrip('/').rpartition('/')[0]}{chained}{outer}", only=name, roots=roots)


def is_below(path: str, root: str) -> bool:
    """Tell whether a path at an address is in a folder, by its letters: nothing is followed there."""
    plain, folder = posixpath.normpath(path), posixpath.normpath(root) if root else ""
    return plain.split("/")[0] != ".." and (not folder or plain.startswith(f"{folder}/"))


def make_readable(file: str) -> str:
    """Return a file's name with a mark for each byte that is not text."""
    return file if file.isascii() else file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _open(address: str) -> tuple[Any, str]:
    if "://" not in address:
        return LocalFileSystem(), os.path.abspath(address)
    checked = f"{PROTOCOL}{address.removeprefix('tar')}" if address.startswith("tar://") else address
    try:
        return url_to_fs(checked)
    except (ValueError, ImportError) as error:
        raise ValueError(f"corpus {address!r} cannot be opened: {error}") from error
    except (*BROKEN, BadZipFile) as error:
        if isinstance(error, FileNotFoundError | PermissionError) or not checked.startswith((PROTOCOL, "zip")):
            raise
        name, kind = address.rpartition("/")[2], "zip" if checked.startswith("zip") else "tar"
        raise ValueError(f"{name} is not a {kind} file, or is damaged or cut off: {error}") from error
