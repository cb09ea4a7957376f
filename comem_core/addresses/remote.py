"""All traffic with the address of a store: reading, writing and listing, with a bounded wait where nobody answers.

An object is there whole or not at all, because the filesystems meant here write it in one request. What they lack has a
replacement: instead of renaming, a file is uploaded under its final name; `write_new` is for locks.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from fsspec.spec import AbstractFileSystem

from comem_core.addresses.faults import (
    WAIT,
    StoreGone,
    StoreRefused,
    explain,
    is_outage,
    read_wait_seconds,
    shorten,
)
from comem_core.addresses.filesystems import open_filesystem, open_impatient, say_if_slow

R = TypeVar("R")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
# Where filesystems say when a file was last written: in seconds since 1970, as a time, or as its text.
WRITTEN = ("LastModified", "last_modified", "updated", "mtime", "created")
log = logging.getLogger("comem.stage")
_exclusive: dict[str, bool] = {}
_silent: dict[str, float] = {}  # buckets that do not answer, and since when
_silent_lock = threading.Lock()


@dataclass(frozen=True)
class Remote:
    """The files below an address. Names are relative to it, with `/`. It can be pickled, and holds no key."""

    address: str

    @cached_property
    def _files(self) -> Any:
        return open_filesystem(self.address)

    @cached_property
    def _root(self) -> str:
        return str(self._files._strip_protocol(self.address)).rstrip("/")

    @cached_property
    def _in_one_request(self) -> dict[str, int]:
        """What lets s3fs read a small file without asking for its size first."""
        read = getattr(self._files, "_cat_file", None)
        has_choice = read is not None and "max_concurrency" in signature(read).parameters
        return {"max_concurrency": 1} if has_choice else {}

    @property
    def _place(self) -> str:
        """The bucket, which is what answers or does not."""
        protocol, _, path = self.address.partition("://")
        return f"{protocol}://{path.partition('/')[0]}"

    def __getstate__(self) -> dict[str, str]:
        return {"address": self.address}

    def _name(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def enter(self, name: str) -> "Remote":
        """Return the files below a name."""
        return Remote(f"{self.address}/{name}")

    def list_sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size of each file below a name; empty if there is none."""
        return {name: int(each["size"]) for name, each in self._describe_files(prefix).items()}

    def find_last_written(self, prefix: str) -> datetime | None:
        """Return when the newest file below a name was written; None if there is none, or the filesystem does not
        tell it of each."""
        times = [_read_time(each) for each in self._describe_files(prefix).values()]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) else None

    def _describe_files(self, prefix: str) -> dict[str, dict[str, Any]]:
        def find() -> dict[str, dict[str, Any]]:
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._name(prefix), detail=True)
            except FileNotFoundError:
                return {}
            return {str(path)[len(self._root) + 1 :]: each for path, each in found.items()}

        return self._ask(find)

    def list_names(self, prefix: str = "") -> list[str]:
        """Return the last parts of the names directly below a name, in order."""

        def look() -> list[str]:
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._name(prefix), detail=False)
            except FileNotFoundError:
                return []
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

        return self._ask(look)

    def read(self, name: str) -> bytes | None:
        """Read a file; None if there is none."""
        return self.read_each([name]).get(name)

    def read_each(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read small files at once; those that are not there are left out."""
        paths = {self._name(name): name for name in names}
        if not paths:
            return {}

        def cat() -> dict[str, bytes]:
            self._files.invalidate_cache()
            found: dict[str, Any] = self._files.cat(list(paths), on_error="return", **self._in_one_request)
            if faults := [each for each in found.values() if isinstance(each, Exception)]:
                for fault in faults:
                    if not isinstance(fault, FileNotFoundError):
                        raise fault
            return {paths[path]: content for path, content in found.items() if isinstance(content, bytes)}

        return self._ask(cat)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, replacing one of this name."""
        self._ask(lambda: self._files.pipe_file(self._name(name), content))

    def write_new(self, name: str, content: bytes) -> bool:
        """Write a small file unless there is one of this name; tell whether this call wrote it.

        It is for contents that nobody else writes: a request that succeeded, but whose answer was lost, counts.
        """
        try:
            self._ask(lambda: self._files.pipe_file(self._name(name), content, mode="create"))
        except FileExistsError:
            return self.read(name) == content
        return True

    def upload(self, path: Path, name: str) -> None:
        """Write a local file under a name."""
        self._ask(lambda: self._files.put_file(str(path), self._name(name)))

    def download(self, names: Mapping[str, Path]) -> None:
        """Write files into local ones. Raises FileNotFoundError if one is not there."""
        if not names:
            return
        for path in names.values():
            path.parent.mkdir(parents=True, exist_ok=True)

        def get() -> None:
            self._files.get([self._name(name) for name in names], [str(path) for path in names.values()])

        self._ask(get)

    def copy(self, source: str, name: str) -> None:
        """Copy a file of the same filesystem, named by its whole address, without reading it here."""
        self._ask(lambda: self._files.cp_file(self._files._strip_protocol(source), self._name(name)))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are left alone."""
        if not (paths := [self._name(name) for name in names]):
            return

        def rm() -> None:
            for path in paths if len(paths) == 1 else ():
                self._files.rm_file(path)
            if len(paths) > 1:
                self._files.rm(paths)

        try:
            self._ask(rm)
        except FileNotFoundError:
            for path in paths if len(paths) > 1 else ():
                try:
                    self._ask(lambda path=path: self._files.rm_file(path))
                except FileNotFoundError:
                    continue

    @property
    def is_exclusive(self) -> bool:
        """Whether `write_new` is one step there, so that of two writers one fails; it is tried once."""
        if self.address not in _exclusive:
            self.check()
        return _exclusive[self.address]

    def check(self) -> None:
        """Try everything that a run does with an address. What takes longer than a second is said.

        Raises:
            StoreRefused: the bucket is not there, this user may not write or read, or nobody answers.
        """
        files, name = open_impatient(self.address), f".tried-{uuid4().hex}"
        path = self._name(name)
        try:
            with say_if_slow(self.address):
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    files.cat_file(path)  # first, because a write to a port that says nothing at all never times out
                files.pipe_file(path, b"1")
                if bytes(files.cat_file(path)) != b"1":
                    raise OSError("what was written there is not what is read")
                try:
                    files.pipe_file(path, b"2", mode="create")
                    _exclusive[self.address] = False
                except FileExistsError:
                    # fsspec's own way, for filesystems that have none, looks first and then writes.
                    looks_first = type(files).pipe_file is AbstractFileSystem.pipe_file
                    _exclusive[self.address] = files.async_impl or not looks_first
                files.rm_file(path)
        except Exception as error:
            said = explain(error).replace(f"/{name}", "")
            raise StoreRefused(f"the store {self.address} cannot be used: {said}") from error

    def _ask(self, request: Callable[[], R]) -> R:
        """Ask again while nobody answers. Raises StoreGone after the wait, and PermissionError that says where."""
        pause = FIRST_PAUSE
        while True:
            try:
                answer = request()
            except PermissionError as error:
                raise PermissionError(f"the store {self.address} refuses: {explain(error)}") from error
            except Exception as error:
                if not is_outage(error):
                    raise
                self._wait(error, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._note_answer()
                return answer

    def _wait(self, error: Exception, pause: float) -> None:
        """Wait a little, as long as the address has been silent for less than the wait: all requests of a process share
        it, so that what comes after the first StoreGone fails at once."""
        now, wait = time.monotonic(), read_wait_seconds()
        with _silent_lock:
            is_new = self._place not in _silent
            waited = now - _silent.setdefault(self._place, now)
        if waited >= wait:
            raise StoreGone(
                f"the store at {self._place} has not answered for {waited:.0f} s ({shorten(error)}). What is finished "
                f"is kept there: start the same command again when it answers ({WAIT} sets the wait)"
            ) from error
        if is_new:
            told = f"the store at {self._place} does not answer ({shorten(error)})"
            log.warning("%s; this run waits for it, up to %.0f s", told, wait)
        time.sleep(max(0.0, min(pause, wait - waited)))

    def _note_answer(self) -> None:
        if self._place in _silent:
            with _silent_lock:
                is_known = _silent.pop(self._place, None) is not None
            if is_known:
                log.warning("the store at %s answers again", self._place)


def _read_time(told: Mapping[str, Any]) -> datetime | None:
    """Read when a file was written, from what its filesystem tells of it."""
    value = next((told[name] for name in WRITTEN if told.get(name) is not None), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
