"""Training by several processes, as ``torchrun`` starts them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["group_of_workers", "joined_workers", "mean_over_workers", "workers_of"]


def group_of_workers() -> str | None:
    """Return "world" where ``torch.distributed`` is set up for more than this process."""
    up = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return "world" if up else None


def workers_of(group: object) -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if group is not None else 1


def mean_over_workers(tensors: Sequence[Tensor | None], group: object) -> None:
    """Replace each tensor by its mean over the workers, in place."""
    if group is None:
        return
    there = [t for t in tensors if t is not None]
    pending = [dist.all_reduce(t, async_op=True) for t in there]
    for tensor, work in zip(there, pending, strict=True):
        work.wait()
        tensor /= dist.get_world_size()


@contextmanager
def joined_workers(device: str) -> Iterator[tuple[str, bool]]:
    """Join the processes that ``torchrun`` started, if it did.

    Within it, the device of this process and whether it is the one that writes and prints.

    Args:
        device: as asked for; "cuda" becomes the GPU of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield device, not dist.is_initialized() or dist.get_rank() == 0
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device, dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
