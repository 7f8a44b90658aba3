"""SoDeep's programmed sorter, which needs no training."""

import torch
from torch import Tensor

from rankgrad.comparisons import Logistic
from rankgrad.pairwise import pairwise_sum
from rankgrad.sorters.base import Sorter

__all__ = ["ProgrammedSorter", "steepened"]

_SLOPE = 6.8  # SoDeep's constant


class ProgrammedSorter(Sorter):
    r"""``exa``: soft ranks in closed form, without weights.

    .. math:: \frac1n \Big(1 + \sum_{j \ne i} \sigma\big(6.8\,(s_j - s_i) / sd\big)\Big)

    with the ``sd`` of :class:`rankgrad.rankers.Pairwise` with ``steepness="auto"``, which is the
    same as a ranker. The published one divides by zero where all scores are equal, and ranks along
    the wrong dimension of three; here such rows share the middle rank, and leading dimensions are
    batch.

    Args:
        length: not used; any will do.

    >>> ProgrammedSorter()(torch.tensor([0.1, 0.7, 0.4]))
    tensor([0.9999, 0.3334, 0.6667])
    """

    architecture = "exa"
    any_length = True
    takes_mask = True

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            rows = torch.where(mask, rows, 0.0)
        n = rows.shape[-1] if mask is None else mask.sum(-1, keepdim=True).clamp(min=1)
        x = steepened(rows, mask)
        return (pairwise_sum(x, x, comparison=Logistic(), mask=mask) + 0.5) / n


def steepened(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores of each row, shifted, and scaled to SoDeep's steepness; infinite ones do not count."""
    x = scores.detach().double()
    valid = x.isfinite() if mask is None else mask & x.isfinite()
    count = valid.sum(dim=-1, keepdim=True)
    # From a valid score, not from the mean: equal scores then give exact zeros. Magnitude one, so
    # that no square leaves the range.
    first = valid.to(torch.uint8).argmax(dim=-1, keepdim=True)
    origin = torch.where(valid, x, 0.0).gather(-1, first)
    gap = torch.where(valid, x - origin, 0.0)
    size = gap.abs().amax(dim=-1, keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    gap = gap / size
    gap = torch.where(valid, gap - gap.sum(dim=-1, keepdim=True) / count.clamp(min=1), 0.0)
    place = valid.cumsum(dim=-1) - 1
    total = (gap * (count - 1 - 2 * place)).sum(dim=-1, keepdim=True)
    squares = count * gap.square().sum(dim=-1, keepdim=True)
    cells = count.double().square()
    spread = squares - total.square() / cells.clamp(min=1)
    sd = (spread.clamp(min=0) / (cells - 1).clamp(min=1)).sqrt()
    width = torch.where(sd > 0, sd * size / _SLOPE, 1.0)
    return (scores - origin.to(scores.dtype)) / width.to(scores.dtype)
