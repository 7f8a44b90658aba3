"""Soft ranks as sums of comparisons over pairs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice
from rankgrad.comparisons import Comparison, Logistic
from rankgrad.pairwise import pairwise_sum
from rankgrad.rankers._pairs import pairwise_ranks
from rankgrad.rankers.base import Ranker
from rankgrad.sorters.programmed import SLOPE, steepened

__all__ = ["Pairwise"]

# On the CPU, scores of a row up to which a sort and a walk take longer than all pairs.
_SHORT = {"ramp": 512, "logistic": 768, "cauchy": 768, "normal": 320, "laplace": 256}
_FEW = {"laplace": 1 << 17}  # pairs up to which they do, where the walk is quick


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

    Cost: that of :func:`rankgrad.pairwise_sum`, and on the CPU that of all pairs for rows of up to
    some hundred scores; memory is linear for every comparison.

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

    _minds_nan_and_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.comparison, Comparison):
            raise TypeError(f"comparison must be a Comparison, got {self.comparison!r}")
        if self.steepness is not None:
            check_choice("steepness", self.steepness, ("auto",))

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        kind, n = self.comparison.kind, scores.shape[-1]
        few = n <= _SHORT.get(kind, 0) and (kind not in _FEW or scores.numel() * n <= _FEW[kind])
        if few and scores.device.type == "cpu":
            slope = 0.0 if self.steepness is None else SLOPE
            found: Tensor = pairwise_ranks(scores, mask, slope, kind, float(self.comparison.scale))
            return found
        x = scores if mask is None else torch.where(mask, scores, 0.0)
        y = x if self.steepness is None else steepened(x, mask)
        # Masked scores are zero: with no weight they need no mask, and one sort serves both sides.
        weights = None if mask is None else mask.to(y.dtype)
        ranks = pairwise_sum(y, y, weights, comparison=self.comparison) + (1 - self.comparison.tie)
        ranks = torch.where(x.isnan().any(dim=-1, keepdim=True), torch.nan, ranks)
        return ranks if mask is None else torch.where(mask, ranks, 0.0)
