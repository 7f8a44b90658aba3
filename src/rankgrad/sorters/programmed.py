"""SoDeep's programmed sorter, which needs no training."""

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.comparisons import Logistic
from rankgrad.operators import batched, operator, rows, shaped
from rankgrad.pairwise import pairwise_sum
from rankgrad.sorters.base import Sorter

__all__ = ["SLOPE", "ProgrammedSorter", "steepened"]

SLOPE = 6.8  # SoDeep's constant


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


@operator("pair_deviation")
def _pair_deviation(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    serve = kernels.implementation("pair_deviation", x.device)
    shape = torch.Size((*x.shape[:-1], 1))
    origin, deviation = serve(rows(x), rows(mask))
    return shaped(origin, shape), shaped(deviation, shape)


@_pair_deviation.register_fake
def _(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:-1], 1)
    return x.new_empty(shape, dtype=torch.float64), x.new_empty(shape, dtype=torch.float64)


_pair_deviation.register_vmap(batched(_pair_deviation, 2))


def steepened(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores of each row, shifted, and scaled to SoDeep's steepness; infinite ones do not count."""
    origin, deviation = _pair_deviation(scores.detach(), mask)
    scale = torch.where(deviation > 0, deviation / SLOPE, 1.0)
    steep: Tensor = (scores - origin.to(scores.dtype)) / scale.to(scores.dtype)
    return steep
