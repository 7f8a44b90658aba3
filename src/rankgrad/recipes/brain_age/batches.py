"""Scans in batches, in one process or several workers, on this machine's part of the batch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import DataLoader, Dataset

from rankgrad.distributed import all_gather

__all__ = ["Batches", "even_parts", "predicted"]

Batch = dict[str, Any]


def even_parts(order: Tensor, size: int, whole: int = 1) -> list[list[int]]:
    """Split an order into batches of at most ``size``, as even as can be.

    So no batch is a single scan that was left over. Each process gets its part of each batch.

    Args:
        order: of the items.
        size: of a batch.
        whole: processes that share each batch.

    >>> even_parts(torch.arange(5), 4)
    [[0, 1, 2], [3, 4]]
    """
    count = -(-len(order) // size)
    me = dist.get_rank() if whole > 1 else 0
    return [part.tensor_split(whole)[me].tolist() for part in order.tensor_split(max(1, count))]


class Batches:
    """Reads the batches of a data set; what is random follows the generator.

    Args:
        dataset: of dictionaries of tensors.
        workers: processes that read ahead; 0 reads here.
        device: batches are pinned for CUDA.
    """

    def __init__(self, dataset: Dataset[Batch], workers: int, device: torch.device) -> None:
        self.dataset, self.workers = dataset, workers
        self.pin = device.type == "cuda"

    def read(
        self, parts: Sequence[Sequence[int]], chance: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the items with these numbers, a batch a part."""
        loader = DataLoader(
            self.dataset,
            batch_sampler=list(parts),  # type: ignore[arg-type]  # the stub wants a Sampler
            num_workers=self.workers,
            pin_memory=self.pin,
            generator=chance,
        )
        yield from loader


def predicted(found: Sequence[tuple[Tensor, Tensor]], count: int, group: Any) -> np.ndarray:
    """Return predictions in the order of the scans, those of all workers, ``[count, stages]``.

    Args:
        found: pairs of numbers of scans and their predictions.
        count: scans in all.
        group: the workers.
    """
    numbers = all_gather(torch.cat([n for n, _ in found]), group)
    ages = all_gather(torch.cat([ages for _, ages in found]), group)
    table = torch.full((count, ages.shape[1]), torch.nan, device=ages.device)
    table[numbers] = ages.float()
    return table.cpu().numpy()
