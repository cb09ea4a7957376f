"""The files of a corpus, at a local path or any address that fsspec knows. Names are relative to it.

What is not listed is left out with a reason. Independent of what the files contain.
"""

import os
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
from comem_core.knowledge.tars import BROKEN, PROTOCOL, CheckedTar

MOST_HELD = 250_000  # files of a listing that is kept: some 70 MB
HIDDEN = ("hidden_file", "its name begins with a dot")
# Fields of a filesystem's `info` that change with a file's content; the first one present is used.
OF_CONTENT = ("ETag", "etag", "md5Hash", "CRC")
STAMPS = (*OF_CONTENT, "mtime", "LastModified", "last_modified", "modified", "created")


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """A file: its name in the corpus, its size in bytes, and a stamp that changes with its content.

    `changed` is when a local file was last touched in any way (nanoseconds), which no program can set back; 0 for a
    stamp that is made from the content; None where a stamp is all there is, and may have been set back.
    """

    name: str
    size: int
    stamp: str
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not read, or a folder that is not listed: a one-word reason, and a sentence of detail."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class FolderListing:
    """One folder: its name in the corpus (empty, or with a slash at its end), its files in order, and the rest."""

    folder: str
    entries: list[Entry]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Files:
    """A folder of files, or one file in it, named by `only`. Made by `find_files`; workers get a copy."""

    address: str
    only: str | None = None

    @cached_property
    def _place(self) -> tuple[Any, str]:
        filesystem, root = _open(self.address)
        return filesystem, root.rstrip("/")

    def find_path(self, name: str) -> str:
        """Return the path of a file in its filesystem; a name that starts at the root is returned as it is."""
        root = self._place[1]
        return name if name.startswith("/") or not root else f"{root}/{name}"

    def open(self, name: str, *, compression: str | None = None) -> IO[bytes]:
        """Open a file for reading. `compression` "infer" decompresses by the name's ending. Raises OSError."""
        filesystem, name = self._place[0], self._find_name(name)
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
        """Return the path of a file on this machine, or None if it is remote."""
        return Path(self.find_path(name)) if isinstance(self._place[0], LocalFileSystem) else None

    def find_version(self, name: str) -> tuple[str, int, int, int] | None:
        """Return path, size and times of a local file, which tell that it did not change; None if it is not there."""
        if not isinstance(self._place[0], LocalFileSystem):
            return None
        path = self.find_path(self._find_name(name))
        try:
            state = os.stat(path)
        except (OSError, ValueError):  # ValueError: no file can have this name
            return None
        return path, state.st_size, state.st_mtime_ns, state.st_ctime_ns

    def exists(self, name: str) -> bool:
        return self._place[0].isfile(self.find_path(self._find_name(name)))

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
            yield FolderListing("", [_entry(self.only, filesystem.info(self.find_path(self.only)))], [])
        elif isinstance(filesystem, LocalFileSystem):
            yield from _list_local_folders(root)
        else:
            yield from _list_remote_folders(filesystem, root)

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


def find_files(corpus: str) -> Files | None:
    """Find the folder or the file at a path or address; None if there is nothing.

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
        return Files(corpus)
    if not is_file:
        return None
    head, _, name = path.rstrip("/").rpartition("/")
    if "://" not in corpus:
        return Files(head or "/", only=name)
    inner, chained, outer = corpus.partition("::")
    protocol, _, rest = inner.partition("://")
    return Files(f"{protocol}://{rest.rstrip('/').rpartition('/')[0]}{chained}{outer}", only=name)


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


def _entry(name: str, info: dict[str, Any]) -> Entry:
    kind = next((key for key in STAMPS if info.get(key) is not None), None)
    return Entry(name, int(info.get("size") or 0), str(info[kind] if kind else ""), 0 if kind in OF_CONTENT else None)


def _list_local_folders(
    root: str, folder: str = "", seen: dict[tuple[int, int], str] | None = None
) -> Iterator[FolderListing]:
    """As `_list_remote_folders`, without a dictionary per file. `seen` names each folder by its device and inode."""
    path = os.path.join(root, folder)
    seen = {_identify(os.stat(path)): "the corpus itself"} if seen is None else seen
    listed, folders = FolderListing(folder, [], []), []
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except PermissionError as error:
        yield FolderListing(folder, [], [LeftOut(folder, "unreadable_folder", str(error.strerror))])
        return
    for entry in entries:
        name = f"{folder}{entry.name}"
        is_plain = entry.is_file(follow_symlinks=False) and not _is_hidden(entry.name)
        if not is_plain and (reason := _find_reason(root, entry, seen)):
            listed.left_out.append(LeftOut(name + "/" * entry.is_dir(), *reason))
        elif not is_plain and entry.is_dir():
            seen[_identify(entry.stat())] = name
            folders.append(f"{name}/")
        else:
            state = entry.stat()
            listed.entries.append(Entry(name, state.st_size, str(state.st_mtime_ns), state.st_ctime_ns))
    yield listed
    for each in folders:
        yield from _list_local_folders(root, each, seen)


def _find_reason(root: str, entry: os.DirEntry, seen: dict[tuple[int, int], str]) -> tuple[str, str] | None:
    """Return why a file or folder is left out, if it is. A link is followed unless the corpus has its files already."""
    if _is_hidden(entry.name):
        return HIDDEN
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "broken_link", f"it points to {os.readlink(entry.path)}, which does not exist"
    if not entry.is_dir():
        return None if entry.is_file() else ("other_kind", "it is neither a file nor a folder")
    if earlier := seen.get(_identify(entry.stat())):
        return "linked_again", f"it is the same folder as {earlier}"
    real = os.path.relpath(os.path.realpath(entry.path), os.path.realpath(root))
    if entry.is_symlink() and not any(_is_hidden(part) for part in real.split(os.sep)):  # `..` is outside
        return "linked_again", f"it points to {real}, which is in the corpus"
    return None


def _identify(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _list_remote_folders(filesystem: Any, root: str) -> Iterator[FolderListing]:
    for path, folders, files in filesystem.walk(root, detail=True):
        below = path.strip("/").removeprefix(root.strip("/")).strip("/")
        folder = f"{below}/" if below else ""
        hidden = [*(name for name in sorted(files) if _is_hidden(name)), *(f"{n}/" for n in folders if _is_hidden(n))]
        shown = {name: folders[name] for name in sorted(folders) if not _is_hidden(name)}
        folders.clear()  # `walk` goes on into what this dictionary holds, in its order
        folders.update(shown)
        entries = sorted(_entry(folder + name, info) for name, info in files.items() if not _is_hidden(name))
        yield FolderListing(folder, entries, [LeftOut(folder + name, *HIDDEN) for name in hidden])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name != "."  # `tar -cf a.tar .` writes its members below a folder of this name
