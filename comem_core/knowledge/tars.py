"""A tar file as a folder that says what is wrong with it: where it is cut off, and which names it has more than once.

fsspec's own refuses a cut file without naming it, and of several members of one name it shows the last.
"""

import lzma
import re
import tarfile
import zlib
from collections import Counter
from typing import Any

import fsspec
from fsspec.implementations.tar import TarFileSystem

PROTOCOL = "checked-tar"
BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
KINDS = {tarfile.DIRTYPE: "directory"}


class CheckedTar(TarFileSystem):
    """What can be read of a tar file. `cut_off` says why the rest cannot; `twice` has the names of several members."""

    protocol = PROTOCOL
    cut_off: str | None = None
    twice: frozenset[str] = frozenset()

    def _index(self) -> None:
        """List the members, without the last one where the file ends within it or behind it without its end."""
        self._members: dict[str, tarfile.TarInfo] = {}
        endings: list[Exception] = []
        self.tar.tarinfo = _watch(endings)
        last, found = None, []
        try:
            for last in self.tar:
                found.append(last)
        except BROKEN as error:
            self.cut_off = f"it ends within {last.name if last else 'its first member'}: {error}"
            found = found[:-1]
        else:
            self.cut_off = _describe_ending(endings[-1] if endings else None, last)
        counts: Counter[str] = Counter()
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in found:
            name = re.sub("/+", "/", member.name.rstrip("/"))
            counts[name] += not member.isdir()
            self._members[name] = member
        self.twice = frozenset(name for name, count in counts.items() if count > 1)
        self.index = {
            name: (self._describe(name, member), member.offset_data, member.name)
            for name, member in self._members.items()
        }

    def _describe(self, name: str, member: tarfile.TarInfo) -> dict[str, Any]:
        is_link = member.islnk() or member.issym()
        try:
            size = self._link_target_size(member) if is_link else member.size
        except BROKEN:
            size = 0
        return {**member.get_info(), "name": name, "size": size, "type": KINDS.get(member.type, "file")}

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        path = re.sub("/+", "/", path)
        if path not in self._members:
            raise FileNotFoundError(path)
        try:
            opened: Any = self.tar.extractfile(self._members[path])
        except KeyError as error:  # a link to nothing
            raise FileNotFoundError(path) from error
        if opened is None:
            raise ValueError(f"{path} is not a regular file")
        opened.size = self.index[path][0]["size"]
        return opened


def _watch(endings: list[Exception]) -> type[tarfile.TarInfo]:
    """Return a class of members that notes why no further member begins, which `tarfile` takes for the end."""

    class WatchedMember(tarfile.TarInfo):
        @classmethod
        def fromtarfile(cls, tarfile: tarfile.TarFile) -> tarfile.TarInfo:
            try:
                return super().fromtarfile(tarfile)
            except Exception as error:
                endings.append(error)
                raise

    return WatchedMember


def _describe_ending(ending: Exception | None, last: tarfile.TarInfo | None) -> str | None:
    """Return why the file ends where it does not end as a tar file should."""
    behind = f"behind {last.name}" if last else "at its beginning"
    if isinstance(ending, tarfile.EmptyHeaderError):  # pyright: ignore[reportAttributeAccessIssue]
        return f"it ends {behind} without the mark of its end, so that further members may be lost"
    if ending is None or isinstance(ending, tarfile.EOFHeaderError):  # pyright: ignore[reportAttributeAccessIssue]
        return None
    return f"it is damaged {behind}: {ending}"


fsspec.register_implementation(PROTOCOL, CheckedTar, clobber=True)
