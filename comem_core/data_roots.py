"""The folders that paths and links in data may lead to: the data's own folder, and those that the operator names.

Data are a corpus, a benchmark's files or the pictures of seed questions. Who makes them is somebody else than who runs
a program on them, so a path in them never reaches any other file.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SETTING = "COMEM_DATA_ROOTS"
OUTSIDE = "outside_roots"
HUB_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--")


class OutsideRoots(ValueError):
    """Raised for a file to which a path or a link in data leads, and which is in none of the allowed folders."""


def read_data_roots() -> tuple[str, ...]:
    """Return the folders that COMEM_DATA_ROOTS names. Raises ValueError for one that does not exist."""
    stated = os.environ.get("COMEM_DATA_ROOTS", "")
    roots = tuple(os.path.abspath(each) for each in stated.split(os.pathsep) if each.strip())
    if missing := [each for each in roots if not os.path.isdir(each)]:
        raise ValueError(
            f"{SETTING} names {', '.join(missing)}, which is not a folder here; expected folders with {os.pathsep!r} "
            "between them"
        )
    return roots


@dataclass(frozen=True)
class DataRoots:
    """The data's `own` folder, and the real paths of all folders whose files may be read."""

    own: str
    folders: tuple[str, ...]

    @classmethod
    def of(cls, own: str | Path, further: Sequence[str] = ()) -> "DataRoots":
        """Allow the data's own folder and `further` ones. In a snapshot of the hub's cache, whose files are links, also
        the files of the same repository that these lead to."""
        real = os.path.realpath(own)
        return cls(str(own), (real, *_find_blobs(Path(real)), *map(os.path.realpath, further)))

    def hold(self, path: str | Path) -> bool:
        """Tell whether a file or folder is in one of the allowed folders, when all links are followed."""
        real = os.path.realpath(path)
        return any(real == folder or real.startswith(f"{folder.rstrip(os.sep)}{os.sep}") for folder in self.folders)

    def check(self, path: str | Path) -> None:
        """Raise OutsideRoots unless a file or folder is in one of the allowed folders."""
        if not self.hold(path):
            raise OutsideRoots(describe_outside(str(path), os.path.realpath(path), self.own))


def describe_outside(path: str, real: str, own: str) -> str:
    """Say where a path leads, and which setting allows it."""
    leads = f"{path} leads to {real}, which" if path != real else f"{path}"
    return f"{leads} is outside {own}; if it may be read, name its folder in {SETTING}"


def is_file_name(name: object) -> bool:
    """Tell whether a file's name in a record or a list stays in the folder that the record or list is about."""
    return isinstance(name, str) and not name.startswith("/") and not {"", ".", ".."} & {*name.split("/")}


def _find_blobs(folder: Path) -> Iterator[str]:
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        blobs = repository / "blobs"
        if snapshot.parent.name == "snapshots" and HUB_REPOSITORY.match(repository.name) and not blobs.is_symlink():
            yield str(blobs)
