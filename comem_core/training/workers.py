"""Workers that train together, each with a part of every batch: whether there are several, and sums over them."""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed

BUCKET_BYTES = 64 * 1024**2  # gradients are summed in buckets of about this size


def is_distributed() -> bool:
    """Tell whether several workers share the batches."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_workers(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the workers, as a copy.

    Each worker must call this with the same shape, on the device that it trains on: NCCL sums no tensors of the CPU.
    """
    values = values.detach().clone()
    if is_distributed():
        distributed.all_reduce(values)
    return values


def find_largest_count(count: int, device: torch.device) -> int:
    """Return the largest of the workers' numbers; `device` is the one that they train on."""
    largest = torch.tensor(count, device=device)
    if is_distributed():
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    return int(largest)


def sum_gradients(gradients: Iterable[Tensor]) -> None:
    """Sum gradients over the workers, in place, several in one message."""
    for bucket in _fill_buckets(gradients):
        together = sum_over_workers(torch.cat([gradient.flatten() for gradient in bucket]))
        for gradient, part in zip(bucket, together.split([each.numel() for each in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _fill_buckets(gradients: Iterable[Tensor]) -> list[list[Tensor]]:
    """Put gradients of one number type together, in order; every worker fills the same buckets."""
    buckets: list[list[Tensor]] = []
    size = 0
    for gradient in gradients:
        if not buckets or size + gradient.nbytes > BUCKET_BYTES or buckets[-1][0].dtype != gradient.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(gradient)
        size += gradient.nbytes
    return buckets
