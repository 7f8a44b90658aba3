"""A sorter that does not see in which order the scores come, for sequences of any length."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankgrad.comparisons import Logistic
from rankgrad.pairwise import pairwise_sum
from rankgrad.sorters.base import Sorter

__all__ = ["SetSorter"]


class _Width(NamedTuple):
    """A width in ranks over n, at least so many ranks, or short rows would have no gradient."""

    wide: float
    least: float

    def at(self, n: Tensor) -> Tensor:
        return (self.least / n).clamp(min=self.wide)


_FIRST = 0.1  # width of the first round, in deviations
_SECOND = _Width(0.02, 0.5)
_LAST = _Width(0.008, 0.3)
_EDGES = (0.06, 0.015)  # how far from an end of the ranks it is felt
_LONGEST = 1e4  # deviations; only infinite scores are farther from the mean
_HIDDEN = 32
_SHORT = 512  # up to this length the matrix of pairs is faster
_SMALL = 2**21  # as long as there are not more pairs than this


class SetSorter(Sorter):
    r"""``set``: soft ranks of soft ranks of soft ranks, and a small network that mends the rest.

    With ``R_T(x)`` the logistic soft ranks of ``x`` at width ``T``, over their number ``n``,

    .. math:: u_0 = R_{0.1}\Big(\frac{x - \bar x}{\operatorname{sd}(x)}\Big), \quad
              u_1 = R_{\max(0.02,\, 0.5 / n)}(-u_0), \quad
              u_2 = R_{\max(0.008,\, 0.3 / n)}(-u_1)

    Each round spreads the scores more evenly, so that one width in ranks fits every distribution
    and every length. This much is closed form, nothing in it is learned, and it does most of the
    work. What is learned is a correction to ``u_2``: a network of 1,344 weights, the same for
    every score, that sees how the three ranks of a score differ, how far it is from either end,
    and ``n``. It is odd, so that ``r(-x) = n + 1 - r(x)`` exactly and equal scores share the
    middle rank.

    Permutation-equivariant, independent of scale and shift, exact derivatives throughout. The
    widths are not learned on purpose: narrower ones are always more exact, down to hard ranks,
    which have no gradient.

    Args:
        length: that it is trained for; it takes any.

    Cost: three :func:`rankgrad.pairwise_sum`; memory linear in n, but for few and short rows, where
    a matrix of pairs is faster.

    >>> SetSorter()(torch.tensor([0.1, 0.7, 0.4])).shape
    torch.Size([3])
    """

    architecture = "set"
    any_length = True
    takes_mask = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        features = 2 + 2 * len(_EDGES) + 1
        self.lin1 = nn.Linear(features, _HIDDEN)
        self.lin2 = nn.Linear(_HIDDEN, _HIDDEN)
        self.lin3 = nn.Linear(_HIDDEN, 1, bias=False)  # a constant would not be odd

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        # As one function of x in one precision, also inside autocast.
        with torch.autocast(rows.device.type, enabled=False):
            valid = torch.ones_like(rows, dtype=torch.bool) if mask is None else mask
            if mask is not None:
                rows = torch.where(mask, rows, 0.0)
            n = valid.sum(-1, keepdim=True).clamp(min=1).to(rows.dtype)
            first = _soft_ranks(_standardised(rows, valid), torch.full_like(n, _FIRST), n, mask)
            second = _soft_ranks(-first, _SECOND.at(n), n, mask)
            last = _soft_ranks(-second, _LAST.at(n), n, mask)
            return last + self._correction(first, second, last, n) / n

    def _correction(self, first: Tensor, second: Tensor, best: Tensor, n: Tensor) -> Tensor:
        """Return what is to be added to the last soft ranks, in ranks."""
        odd = torch.stack([torch.asinh(n * (u - best)) for u in (second, first)], -1)
        down = best - 0.5 / n
        up = 1 + 0.5 / n - best
        ends = [torch.stack([torch.exp(-x / w) for w in _EDGES], -1) for x in (down, up)]
        size = (n.log() / 7).expand_as(best).unsqueeze(-1)
        there = torch.cat([odd, ends[0], ends[1], size], -1)
        back = torch.cat([-odd, ends[1], ends[0], size], -1)
        # One score alone needs no correction.
        return (self._network(there) - self._network(back)) * (1 - 1 / n)

    def _network(self, x: Tensor) -> Tensor:
        for layer in (self.lin1, self.lin2):
            x = F.silu(F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype)))
        return F.linear(x, self.lin3.weight.to(x.dtype)).squeeze(-1)


def _standardised(rows: Tensor, valid: Tensor) -> Tensor:
    """Scores with mean 0 and deviation 1, or all 0; infinite ones do not count."""
    counts = valid & rows.isfinite()
    count = counts.sum(-1, keepdim=True).clamp(min=1)
    # Equal scores are exactly 0 after this, and no square leaves the range after the division.
    origin = rows.gather(-1, counts.to(torch.uint8).argmax(-1, keepdim=True)).detach()
    gap = torch.where(counts, rows - origin, 0.0)
    size = gap.detach().abs().amax(-1, keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    gap = gap / size
    mean = gap.sum(-1, keepdim=True) / count
    variance = torch.where(counts, gap - mean, 0.0).square().sum(-1, keepdim=True) / count
    sd = torch.where(variance > 0, variance, 1.0).sqrt()
    z = torch.where(counts, (gap - mean) / sd, rows)
    return z.clamp(-_LONGEST, _LONGEST)


def _soft_ranks(x: Tensor, width: Tensor, n: Tensor, mask: Tensor | None) -> Tensor:
    """Logistic soft ranks over n."""
    x = x / width
    if x.shape[-1] > _SHORT or x.numel() * x.shape[-1] > _SMALL:
        return (pairwise_sum(x, x, comparison=Logistic(), mask=mask) + 0.5) / n
    ahead = torch.sigmoid(x.unsqueeze(-2) - x.unsqueeze(-1))
    if mask is not None:
        ahead = ahead * mask.unsqueeze(-2)
    return (ahead.sum(-1) + 0.5) / n
