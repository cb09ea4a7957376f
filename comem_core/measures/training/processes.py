"""Runs measuring modules in processes of their own: nothing of one measure stays in the memory of the next."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run_elsewhere(module: str, *arguments: str, **environment: str) -> Any:
    """Run a module in a new process, and return what it prints as JSON in its last line.

    Raises RuntimeError, with the end of what it says of its error, if it fails.
    """
    return run_workers(module, [arguments], **environment)[0]


def run_workers(module: str, arguments: Sequence[Sequence[str]], **environment: str) -> list[Any]:
    """Run a module once for each list of arguments, all at once, as `run_elsewhere` runs one."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", module, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        for given in arguments
    ]
    # Read all at once: a worker with a full pipe stops, and so do those that wait for it.
    with ThreadPoolExecutor(len(workers)) as readers:
        said = list(readers.map(lambda worker: worker.communicate(), workers))
    if failed := [error for worker, (_, error) in zip(workers, said, strict=True) if worker.returncode]:
        raise RuntimeError(f"a worker of {module} failed: {failed[0].strip()[-2000:]}")
    return [json.loads(output.splitlines()[-1]) for output, _ in said]
