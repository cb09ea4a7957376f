"""Lists the files of a corpus folder by folder, on this machine or elsewhere, and says what is left out.

Independent of what the files contain.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comem_core.data_roots import OUTSIDE, DataRoots, describe_outside

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


def make_entry(name: str, info: dict[str, Any]) -> Entry:
    """Describe a file by what its filesystem says of it."""
    kind = next((key for key in STAMPS if info.get(key) is not None), None)
    return Entry(name, int(info.get("size") or 0), str(info[kind] if kind else ""), 0 if kind in OF_CONTENT else None)


def list_local_folders(
    roots: DataRoots, folder: str = "", seen: dict[tuple[int, int], str] | None = None
) -> Iterator[FolderListing]:
    """As `list_remote_folders`, without a dictionary per file. A link that leads out of `roots` is left out. `seen`
    names each folder by its device and inode."""
    path = os.path.join(roots.own, folder)
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
        if not is_plain and (reason := _find_reason(roots, entry, seen)):
            listed.left_out.append(LeftOut(name + "/" * os.path.isdir(entry.path), *reason))
        elif not is_plain and entry.is_dir():
            seen[_identify(entry.stat())] = name
            folders.append(f"{name}/")
        else:
            state = entry.stat()
            listed.entries.append(Entry(name, state.st_size, str(state.st_mtime_ns), state.st_ctime_ns))
    yield listed
    for each in folders:
        yield from list_local_folders(roots, each, seen)


def _find_reason(roots: DataRoots, entry: os.DirEntry, seen: dict[tuple[int, int], str]) -> tuple[str, str] | None:
    """Return why a file or folder is left out, if it is. A link is followed unless the corpus has its files already."""
    if _is_hidden(entry.name):
        return HIDDEN
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "broken_link", f"it points to {os.readlink(entry.path)}, which does not exist"
    if entry.is_symlink() and not roots.hold(entry.path):
        return OUTSIDE, describe_outside(entry.name, os.path.realpath(entry.path), roots.own)
    if not entry.is_dir():
        return None if entry.is_file() else ("other_kind", "it is neither a file nor a folder")
    if earlier := seen.get(_identify(entry.stat())):
        return "linked_again", f"it is the same folder as {earlier}"
    real = os.path.relpath(os.path.realpath(entry.path), roots.folders[0])
    if entry.is_symlink() and not any(_is_hidden(part) for part in real.split(os.sep)):  # `..` is outside
        return "linked_again", f"it points to {real}, which is in the corpus"
    return None


def _identify(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def list_remote_folders(filesystem: Any, root: str) -> Iterator[FolderListing]:
    """Yield the sorted files of each folder below `root`, parents before their subfolders."""
    for path, folders, files in filesystem.walk(root, detail=True):
        below = path.strip("/").removeprefix(root.strip("/")).strip("/")
        folder = f"{below}/" if below else ""
        hidden = [*(name for name in sorted(files) if _is_hidden(name)), *(f"{n}/" for n in folders if _is_hidden(n))]
        shown = {name: folders[name] for name in sorted(folders) if not _is_hidden(name)}
        folders.clear()  # `walk` goes on into what this dictionary holds, in its order
        folders.update(shown)
        entries = sorted(make_entry(folder + name, info) for name, info in files.items() if not _is_hidden(name))
        yield FolderListing(folder, entries, [LeftOut(folder + name, *HIDDEN) for name in hidden])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name != "."  # `tar -cf a.tar .` writes its members below a folder of this name
