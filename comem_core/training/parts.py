"""Computes the parts of a micro-batch at once, each by a thread of its own: how a CPU trains a small model quickly.

The operations of a small model are so short that the threads of one operation mostly wait for each other. Parts wait
only at the end of a pass. The order in which they end changes no result.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")


class Parts:
    """Up to `count` threads, which share those that torch has for an operation. One part needs none of its own."""

    def __init__(self, count: int):
        threads = max(1, torch.get_num_threads() // count)
        self.count = count
        self._pool = ThreadPoolExecutor(
            count, thread_name_prefix="comem-parts", initializer=torch.set_num_threads, initargs=(threads,)
        )

    def cut(self, rows: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Cut rows into parts with about as many tokens each, given the lengths of all rows."""
        if self.count == 1 or len(rows) == 1:
            return [list(rows)]
        longest_first = sorted(rows, key=lambda row: -lengths[row])
        return [sorted(longest_first[part :: self.count]) for part in range(min(self.count, len(rows)))]

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """Call a function with each part, all at once, and return the results in order."""
        return [function(parts[0])] if len(parts) == 1 else list(self._pool.map(function, parts))

    def backward(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], leaves: Iterable[Tensor]) -> None:
        """Add the gradient of the parts' outputs to the leaves.

        `gradients` are those of the outputs; None for a number. Those of several parts are added in order, so that the
        sum is the same whichever thread ends first.
        """
        if len(outputs) == 1:
            outputs[0].backward(gradients[0])
            return
        trained = [leaf for leaf in leaves if leaf.requires_grad]

        def compute(part: int) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(outputs[part], trained, gradients[part], allow_unused=True)

        for found in self.map(compute, range(len(outputs))):
            for leaf, gradient in zip(trained, found, strict=True):
                if gradient is not None:
                    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
