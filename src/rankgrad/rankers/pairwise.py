"""Soft ranks as sums of comparisons over pairs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice
from rankgrad.comparisons import Comparison, Logistic
from rankgrad.pairwise import pairwise_sum
from rankgrad.rankers.base import Ranker

__all__ = ["Pairwise"]

_AUTO_SLOPE = 6.8  # SoDeep's constant


@dataclass(frozen=True)
class Pairwise(Ranker):
    """Count, softly, what is ahead: ``rank_i = 1 + sum over j != i of H(s_j - s_i)``.

    With :class:`~rankgrad.Step` these are hard ranks, ties averaged; with any other comparison
    the ranks have a gradient. They always sum to ``n (n + 1) / 2``.

    ``steepness="auto"`` is the handcrafted sorter of SoDeep: the scores of a row are first
    multiplied by ``6.8 / sd``, where ``sd`` is the unbiased standard deviation over all entries
    of the ``n x n`` matrix that holds ``s_i - s_j`` above its diagonal and zeros elsewhere. The
    factor is a constant to the gradient. It depends on the order in which the scores come, and
    makes the ranks independent of their scale. It is computed in closed form, without the matrix.
    Rows of equal scores get the mid rank.

    Args:
        comparison: the softened step ``H``; a logistic function by default.
        steepness: None, or "auto".

    Cost: that of :func:`rankgrad.pairwise_sum`; memory is linear for every comparison.

    Source: Qin, Liu, Li: A general approximation framework for direct optimization of
    information retrieval measures, 2010; Engilberge, Chevallier, Pérez, Cord: SoDeep, CVPR 2019;
    Struski et al.: LapSum, ICML 2025 (:class:`~rankgrad.Laplace`).

    >>> from rankgrad import Laplace
    >>> Pairwise(Laplace(temperature=0.1))(torch.tensor([0.1, 0.7, 0.4]))
    tensor([2.9739, 1.0261, 2.0000])
    """

    comparison: Comparison = Logistic()
    steepness: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.comparison, Comparison):
            raise TypeError(f"comparison must be a Comparison, got {self.comparison!r}")
        if self.steepness is not None:
            check_choice("steepness", self.steepness, ("auto",))

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        if self.steepness == "auto":
            scores = _standardised(scores, mask)
        ahead = pairwise_sum(scores, scores, comparison=self.comparison, mask=mask)
        return ahead + (1 - self.comparison.tie)


def _standardised(scores: Tensor, mask: Tensor | None) -> Tensor:
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
    width = torch.where(sd > 0, sd * size / _AUTO_SLOPE, 1.0)
    return (scores - origin.to(scores.dtype)) / width.to(scores.dtype)
