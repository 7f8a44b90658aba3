"""Sinkhorn ranks: entropic optimal transport between the scores and the places."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice, check_count, check_positive
from rankgrad.rankers._matrices import coupling_matrix
from rankgrad.rankers._sorted import SortedScores, absolute_gaps, sorted_scores
from rankgrad.rankers.balance import balance, unrolled
from rankgrad.rankers.coupling import coupling_apply
from rankgrad.rankers.permutation import PermutationRanker

__all__ = ["Sinkhorn"]

_MOST = {"implicit": 1000, "unrolled": 20}


@dataclass(frozen=True)
class Sinkhorn(PermutationRanker):
    r"""The doubly stochastic matrix of entropic transport from scores to equally spaced places.

    .. math::
        P = \arg\max_{P} \sum_{ij} P_{ij}\, y_i s_j - temperature \sum_{ij} P_{ij} \log P_{ij},
        \qquad y_i = \frac{n + 1 - 2i}{2n}

    over all nonnegative matrices whose rows and columns sum to 1. This is transport at the cost
    ``(s_j - y_i)^2 / 2``. Ranks are mean places ``rank_j = sum_i i P_ij``: they sum to
    ``n (n + 1) / 2``, stay in ``[1, n]`` and never contradict the order of the scores.

    ``P_ij = exp(y_i s_j / temperature + f_i + g_j)``, with ``f`` and ``g`` found by Sinkhorn's
    iteration in the log domain. With ``warm_start`` it starts from the potentials of plain
    sorting, which have a closed form. Its first half step then is NeuralSort at ``2 n`` times
    the temperature, its first step NeuralSort's renormalised ranks.

    Args:
        temperature: the strength of the entropy; above zero. Places are ``1 / n`` apart, so that
            it mixes scores over about ``sqrt(temperature)`` times the range, whatever ``n`` is.
        gradient: "implicit" differentiates the fixed point, by conjugate gradients; "unrolled"
            differentiates the iterations themselves, and remembers each.
        iterations: how many at most. None stands for 1000 with the implicit gradient, and for 20
            with the unrolled one, which runs exactly so many.
        tolerance: the implicit form stops when no row or column sum is further than this from 1
            (on a logarithmic scale); it also bounds the relative error of its gradient's system.
        warm_start: begin at the potentials of plain sorting rather than at zeros.

    Cost: as :class:`NeuralSort` for every half iteration, in float64. The implicit form is
    over-relaxed and takes some ``1 / sqrt(temperature)`` iterations; after each it looks whether it
    is done, which waits for a GPU. Memory ``O(n)``, times the iterations when unrolled; ``O(n n)``
    for the matrix.

    Source: Cuturi, Teboul, Vert: Differentiable Ranks and Sorting using Optimal Transport,
    NeurIPS 2019 (without its squashing of the scores). Over-relaxation: Thibault, Chizat, Dossal,
    Papadakis: Overrelaxed Sinkhorn-Knopp Algorithm for Regularized Optimal Transport, 2021.

    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> Sinkhorn(temperature=0.05)(scores)
    tensor([2.7392, 1.2608, 2.0000])
    >>> Sinkhorn(temperature=0.05).permutation(scores)
    tensor([[0.0138, 0.7530, 0.2332],
            [0.2332, 0.2332, 0.5336],
            [0.7530, 0.0138, 0.2332]])
    """

    temperature: float = 0.1
    gradient: str = "implicit"
    iterations: int | None = None
    tolerance: float = 1e-6
    warm_start: bool = True

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_choice("gradient", self.gradient, ("implicit", "unrolled"))
        if self.iterations is not None:
            check_count("iterations", self.iterations)
        check_positive("tolerance", self.tolerance)

    def _potentials(
        self, scores: Tensor, mask: Tensor | None
    ) -> tuple[SortedScores, tuple[Tensor, Tensor, Tensor]]:
        """Return the sorted scores, and ``a``, ``f`` and ``g``, -inf behind the valid ones."""
        s = sorted_scores(scores, mask, 1000.0 * scores.shape[-1] * self.temperature)
        scale = 2 * s.count.clamp(min=1) * self.temperature
        a = (s.count + 1 - 2 * s.place) / scale
        g = -absolute_gaps(s) / scale if self.warm_start else torch.zeros_like(s.x)
        g = torch.where(s.valid, g, -torch.inf)
        most = _MOST[self.gradient] if self.iterations is None else self.iterations
        if self.gradient == "unrolled":
            return s, (a, *unrolled(a, s.x, g, s.valid, most))
        return s, (a, *balance(a, s.x, g, s.valid, most, float(self.tolerance)))

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        s, (a, f, g) = self._potentials(scores, mask)
        ranks: Tensor = coupling_apply(s.x, a, g, f, (s.weight * s.place).unsqueeze(-2))
        return s.back(ranks.squeeze(-2)).to(scores.dtype)

    def _sorted(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        s, (a, f, g) = self._potentials(scores, mask)
        values = s.weight * (s.x + s.centre)
        out: Tensor = coupling_apply(a, s.x, f, g, values.unsqueeze(-2)).squeeze(-2)
        return torch.where(s.hard.isinf(), s.hard, out.to(scores.dtype))

    def _reordered(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*batch n"] | None,
        values: Float[Tensor, "*batch n"],
    ) -> Float[Tensor, "*batch n"]:
        s, (a, f, g) = self._potentials(scores, mask)
        values = s.weight * values.gather(-1, s.order)
        out: Tensor = coupling_apply(a, s.x, f, g, values.unsqueeze(-2)).squeeze(-2)
        return out.to(scores.dtype)

    def _matrix(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n n"]:
        s, (a, f, g) = self._potentials(scores, mask)
        x = torch.where(scores.isnan().any(dim=-1, keepdim=True), torch.nan, s.x)
        matrix: Tensor = coupling_matrix(a, x, f, g, s.order, scores.dtype == torch.float32)
        return matrix
