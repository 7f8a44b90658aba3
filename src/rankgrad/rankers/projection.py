"""Soft ranks and soft sorting by projection onto the permutahedron."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice, check_positive
from rankgrad.rankers.base import SortingRanker
from rankgrad.rankers.permutahedron import project_rank, project_sort

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection(SortingRanker):
    r"""The point of the permutahedron of ``(1, ..., n)`` that is nearest to the scores.

    The ranks are those ``r`` in the convex hull of all permutations of ``(1, ..., n)`` that
    minimise ``|| r + scores / strength ||^2`` (``"l2"``), or, with exponentials of both sides in
    the place of the hull and the distance, a Kullback-Leibler divergence (``"kl"``).

    With the scores sorted, largest first, it is an isotonic regression: the sorted positions fall
    into blocks, and inside the block of the places ``a..b``

    .. math::
        r_i = \frac{a + b}{2} + \frac{\bar s - s_i}{strength} \;\text{(l2)}, \qquad
        r_i = (a + \dots + b)\, \mathrm{softmax}(-s / strength)_i \;\text{(kl)}.

    A block of one has its hard rank; with "l2" all blocks are of one where neighbours are more
    than ``strength`` apart. A small strength gives hard ranks and no gradient, a large one pulls
    all ranks to the middle. The ranks of each row sum to ``n (n + 1) / 2``.

    ``sort`` projects the places ``(n, ..., 1) / strength`` onto the permutahedron of the scores.
    Neighbours that are less than ``1 / strength`` apart keep their sorted values; wider gaps pull
    both sides towards each other. A small strength gives the sorted scores, a large one the same
    value (for "l2", their mean) everywhere.

    Equal infinite scores share their places. In soft sorting with "kl" a score of -inf takes a
    place and no part of the others; a row whose largest score is infinite is NaN. Where blocks
    are about to merge the ranks have a kink; the gradient is that of the side on which they have
    merged.

    Args:
        regularization: "l2" or "kl".
        strength: the score difference that counts as one rank; above zero.

    Cost: one sort, then ``O(n)``; the gradient is ``O(n)``.

    Source: Blondel, Teboul, Berthet, Djolonga: Fast Differentiable Sorting and Ranking,
    ICML 2020. The gradient of the entropic soft sort is the true one, which that of the published
    code is not.

    >>> import torch
    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> Projection(strength=0.5)(scores)
    tensor([2.6000, 1.4000, 2.0000])
    >>> Projection(strength=0.1)(scores)
    tensor([3., 1., 2.])
    >>> Projection(strength=4.0).sort(scores)
    tensor([0.6500, 0.4000, 0.1500])
    """

    regularization: str = "l2"
    strength: float = 1.0

    _minds_nan_and_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("regularization", self.regularization, ("l2", "kl"))
        check_positive("strength", self.strength)

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        ranks: Tensor
        ranks, _ = project_rank(scores, mask, float(self.strength), self.regularization == "kl")
        return ranks

    def _sorted(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        values: Tensor
        values, _ = project_sort(scores, mask, float(self.strength), self.regularization == "kl")
        return values
