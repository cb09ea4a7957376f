"""The origin of a number or an artefact: the commit of the code, and the machine it ran on."""

import functools
import os
import platform
import subprocess
from pathlib import Path

import psutil


@functools.cache
def find_commit() -> str | None:
    """Return the commit of the running code, with `-dirty` where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def describe_machine() -> str:
    """Describe this machine by what affects speed: cores, memory, system, Python."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{os.cpu_count()} cores, {memory} GiB memory, {platform.system()}, Python {platform.python_version()}"


def shorten_folder(folder: str) -> str:
    """Return a folder as a command names it: of one outside the current folder only the end."""
    path, here = Path(folder), Path.cwd()
    if not path.is_absolute():
        return folder
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(Path("...", *path.parts[-2:]))
