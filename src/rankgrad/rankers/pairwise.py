"""Soft ranks as sums of comparisons over pairs."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice
from rankgrad.comparisons import Comparison, Logistic
from rankgrad.pairwise import pairwise_sum
from rankgrad.rankers.base import Ranker
from rankgrad.sorters.programmed import steepened

__all__ = ["Pairwise"]


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

    >>> import torch
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
            scores = steepened(scores, mask)
        # Masked scores are zero: with no weight they need no mask, and one sort serves both sides.
        weights = None if mask is None else mask.to(scores.dtype)
        ahead = pairwise_sum(scores, scores, weights, comparison=self.comparison)
        return ahead + (1 - self.comparison.tie)
