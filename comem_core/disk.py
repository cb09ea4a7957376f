"""Files that have to be on the disk before others say so, and second names of files that nobody changes."""

import os
import shutil
import sys
from pathlib import Path


def flush(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk. Raises the audit event `comem.flush` with the path."""
    sys.audit("comem.flush", str(path))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_file(source: Path, target: Path) -> None:
    """Give a file, which nobody changes, a second name; where the disk cannot, copy it."""
    try:
        os.link(source, target)
    except OSError:
        hidden = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, hidden)
        flush(hidden)
        os.replace(hidden, target)
