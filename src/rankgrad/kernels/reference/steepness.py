"""The standard deviation that SoDeep's handcrafted sorter divides by, in closed form."""

import torch
from torch import Tensor

__all__ = ["pair_deviation"]


def pair_deviation(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return a valid score of each row of ``x`` [rows, n], and the deviation of its pairs.

    That is the unbiased standard deviation over all entries of the matrix with ``x_i - x_j`` above
    its diagonal and zeros elsewhere. Both are float64, [rows, 1]; infinite scores do not count.
    """
    x = x.double()
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
    return origin, size * (spread.clamp(min=0) / (cells - 1).clamp(min=1)).sqrt()
