"""Tells whether files were written again."""

from pathlib import Path


def stamp_files(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
    """Return, by name, what tells each file from one that was written again under its name.

    The inode alone does not: a file system may give the number of a deleted file to the next one, so the time of the
    last change (in nanoseconds) stands beside it. Hard links of one file have both in common.
    """
    found = {path.name: path.stat() for path in sorted(folder.glob(pattern))}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in found.items()}
