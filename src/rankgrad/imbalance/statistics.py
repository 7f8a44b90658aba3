"""Running statistics of features by label bin, a batch at a time."""

from collections.abc import Callable
from typing import Any, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from rankgrad.distributed import gather_shards, members

__all__ = ["BinStatistics"]


class BinStatistics(nn.Module):
    """How many samples each bin has seen, and the mean and variance of their features.

    Batches are merged by how far their mean is from the mean so far: sums of squares would lose
    the variance of features that are far from zero. No feature is kept.

    Args:
        num_bins: how many bins.
        dims: the size of a feature.

    >>> seen = BinStatistics(2, 1)
    >>> for batch in ([[1.0], [3.0]], [[5.0]]):
    ...     seen.add(torch.tensor(batch), torch.zeros(len(batch), dtype=torch.long))
    >>> seen.count.tolist(), seen.mean[0].item(), seen.variance()[0].item()
    ([3.0, 0.0], 3.0, 4.0)
    """

    def __init__(self, num_bins: int, dims: int) -> None:
        super().__init__()
        self.dims = dims
        # Count, mean and sum of squared deviations of each bin. No buffer, though it moves and is
        # saved like one: DistributedDataParallel gives every worker the first one's buffers.
        self._table = torch.zeros(num_bins, 1 + 2 * dims)

    @property
    def count(self) -> Float[Tensor, " bins"]:
        """The samples of each bin."""
        return self._table[:, 0]

    @property
    def mean(self) -> Float[Tensor, "bins d"]:
        """The mean of their features; 0 where there is none."""
        return self._table[:, 1 : 1 + self.dims]

    def variance(self) -> Float[Tensor, "bins d"]:
        """Return the unbiased variance; that of a single sample is zero and not unknown."""
        return self._table[:, 1 + self.dims :] / (self.count - 1).clamp(min=1)[:, None]

    def add(self, features: Float[Tensor, "n d"], bins: Int64[Tensor, " n"]) -> None:
        """Take in a batch."""
        x = features.detach().to(self._table.dtype)
        count = torch.zeros_like(self.count).index_add(0, bins, torch.ones_like(x[:, 0]))[:, None]
        mean = torch.zeros_like(self.mean).index_add(0, bins, x) / count.clamp(min=1)
        squares = torch.zeros_like(mean).index_add(0, bins, (x - mean[bins]).square())
        self._merge(count, mean, squares)

    def _merge(self, count: Tensor, mean: Tensor, squares: Tensor) -> None:
        """Take in the statistics ``[bins, 1]`` and twice ``[bins, d]`` of further samples."""
        before, our_mean, our_squares = self._table.split([1, self.dims, self.dims], dim=1)
        total = before + count
        share = count / total.clamp(min=1)
        gap = mean - our_mean
        merged = our_squares + squares + gap.square() * share * before
        self._table = torch.cat([total, our_mean + gap * share, merged], dim=1)

    def gather(self) -> None:
        """Take in what every process of ``torch.distributed`` has seen, where there are others."""
        world = members("world")
        if world is None:
            return
        everyones = gather_shards(self._table[None], world)
        self.clear()
        for (table,) in everyones:
            self._merge(*table.split([1, self.dims, self.dims], dim=1))

    def clear(self) -> None:
        """Forget everything."""
        self._table = torch.zeros_like(self._table)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's own
        self._table = fn(self._table)
        return self

    def get_extra_state(self) -> Tensor:
        """Return the statistics, for ``state_dict``."""
        return self._table

    def set_extra_state(self, state: Any) -> None:
        """Take over what :meth:`get_extra_state` returned."""
        self._table = state.to(self._table, copy=True)
