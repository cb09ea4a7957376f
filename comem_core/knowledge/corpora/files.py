"""The files of a corpus, at a local path or any address that fsspec knows. Names are relative to it.

Independent of what the files contain.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from fsspec.compression import compr
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.utils import infer_compression

# Fields of a filesystem's `info` that change with a file's content; the first one present is used.
STAMPS = ("ETag", "etag", "md5Hash", "CRC", "mtime", "LastModified", "last_modified", "modified", "created")


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """A file: its name in the corpus, its size in bytes, and a stamp that changes with its content."""

    name: str
    size: int
    stamp: str


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
        filesystem = self._place[0]
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

    def exists(self, name: str) -> bool:
        return self._place[0].isfile(self.find_path(name))

    def list_folders(self) -> Iterator[list[Entry]]:
        """Yield the sorted files of each folder, parents before their subfolders. Hidden files are left out."""
        filesystem, root = self._place
        if self.only is not None:
            yield [_entry(self.only, filesystem.info(self.find_path(self.only)))]
        elif isinstance(filesystem, LocalFileSystem):
            yield from _list_local_folders(root, "")
        else:
            yield from _list_remote_folders(filesystem, root)

    def list_entries(self) -> Iterator[Entry]:
        """Yield all files of `list_folders`."""
        for folder in self.list_folders():
            yield from folder

    def name_content(self) -> str:
        """Hash the files' names, sizes and times (16 hex digits); the files themselves are not read."""
        digest = sha256()
        for entry in self.list_entries():
            digest.update(f"{entry.name}\0{entry.size}\0{entry.stamp}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def find_files(corpus: str) -> Files | None:
    """Find the folder or the file at a path or address; None if there is nothing.

    Raises ValueError for a kind of address that fsspec does not know, or lacks a package for.
    """
    filesystem, path = _open(corpus)
    if filesystem.isdir(path):
        return Files(corpus)
    if not filesystem.isfile(path):
        return None
    head, _, name = path.rstrip("/").rpartition("/")
    if "://" not in corpus:
        return Files(head or "/", only=name)
    inner, chained, outer = corpus.partition("::")
    protocol, _, rest = inner.partition("://")
    return Files(f"{protocol}://{rest.rstrip('/').rpartition('/')[0]}{chained}{outer}", only=name)


def _open(address: str) -> tuple[Any, str]:
    if "://" not in address:
        return LocalFileSystem(), os.path.abspath(address)
    try:
        return url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise ValueError(f"corpus {address!r} cannot be opened: {error}") from error


def _entry(name: str, info: dict[str, Any]) -> Entry:
    stamp = next((info[key] for key in STAMPS if info.get(key) is not None), "")
    return Entry(name, int(info.get("size") or 0), str(stamp))


def _list_local_folders(root: str, below: str) -> Iterator[list[Entry]]:
    """As `_list_remote_folders`, without a dictionary per file. Links to folders are not followed: they may loop."""
    files, folders = [], []
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{below}{entry.name}/")
            elif entry.is_file():
                state = entry.stat()
                files.append(Entry(f"{below}{entry.name}", state.st_size, str(state.st_mtime_ns)))
    yield sorted(files)
    for folder in sorted(folders):
        yield from _list_local_folders(root, folder)


def _list_remote_folders(filesystem: Any, root: str) -> Iterator[list[Entry]]:
    for folder, folders, files in filesystem.walk(root, detail=True):
        shown = {name: folders[name] for name in sorted(folders) if not name.startswith(".")}
        folders.clear()  # `walk` goes on into what this dictionary holds, in its order
        folders.update(shown)
        below = folder.strip("/").removeprefix(root.strip("/")).strip("/")
        prefix = f"{below}/" if below else ""
        yield sorted(_entry(prefix + name, info) for name, info in files.items() if not name.startswith("."))
