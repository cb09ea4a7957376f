"""Two processes that train together, as Ray Train's workers do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

WORKERS = 2


def run_workers(work: Callable[..., None], *arguments: Any, folder: Path) -> list[dict[str, Any]]:
    """Call `work(*arguments, rank, folder)` in two processes, and return what each wrote to `<rank>.pt`."""
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_join, args=(work, arguments, rank, folder), name=f"worker {rank}")
        for rank in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)  # its exit code may be that of Prefect's threads, which a fork does not have
        worker.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]


def _join(work: Callable[..., None], arguments: tuple[Any, ...], rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORKERS)
    work(*arguments, rank, folder)
    distributed.destroy_process_group()
