"""NeuralSort: a softmax whose maximum in row i is the i-th largest score."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.checks import check_positive
from rankgrad.rankers._coupled import CoupledRanker
from rankgrad.rankers._sorted import SortedScores, absolute_gaps
from rankgrad.rankers.coupling import coupling_apply, coupling_logsumexp

__all__ = ["NeuralSort"]


@dataclass(frozen=True)
class NeuralSort(CoupledRanker):
    r"""The unimodal relaxation of sorting.

    .. math::
        P_{ij} = \mathrm{softmax}_j\big(((n + 1 - 2i)\, s_j - \sum_k |s_j - s_k|) / temperature\big)

    Ranks are mean places. With ``renormalize`` they are ``rank_j = sum_i i P_ij / sum_i P_ij``:
    they stay in ``[1, n]`` and never contradict the order of the scores. Without it
    ``rank_j = sum_i i P_ij``: these sum to ``n (n + 1) / 2``, but columns of ``P`` do not sum to
    1, so that a rank can leave ``[1, n]`` and close neighbours can swap.

    A gap between neighbours counts once at the next place, three times at the one after, five
    times after that: the matrix is a band around the diagonal, of about
    ``sqrt(temperature / gap)`` places.

    Args:
        temperature: the gap between neighbours at which they mix; above zero.
        renormalize: whether the weights of an item over the places sum to 1 in its rank.

    Cost: one sort, then one exponential for every element of the band, in float64, forward and
    backward: some ``n sqrt(n)`` for scores that are spread out, ``n n`` for scores that are all
    within the temperature. Memory ``O(n)``; ``O(n n)`` for the matrix.

    Source: Grover, Wang, Zweig, Ermon: Stochastic Optimization of Sorting Networks via Continuous
    Relaxations, ICLR 2019.

    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> NeuralSort(temperature=0.1)(scores)
    tensor([2.9546, 1.0454, 2.0000])
    >>> NeuralSort(temperature=0.1).sort(scores)
    tensor([0.6858, 0.4000, 0.1142])
    >>> NeuralSort(temperature=0.3).permutation(scores)
    tensor([[0.0132, 0.7214, 0.2654],
            [0.2119, 0.2119, 0.5761],
            [0.7214, 0.0132, 0.2654]])
    """

    temperature: float = 1.0
    renormalize: bool = True

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def _far(self, n: int) -> float:
        return 1000.0 * self.temperature

    def _potentials(self, s: SortedScores) -> tuple[Tensor, Tensor, Tensor]:
        a = (s.count + 1 - 2 * s.place) / self.temperature
        g = torch.where(s.valid, -absolute_gaps(s) / self.temperature, -torch.inf)
        f = torch.where(s.valid, -coupling_logsumexp(a, s.x, g), -torch.inf)
        return a, f, g

    def _places(self, s: SortedScores) -> Float[Tensor, "*batch n"]:
        a, f, g = self._potentials(s)
        places = s.weight * s.place
        if not self.renormalize:
            ranks: Tensor = coupling_apply(s.x, a, g, f, places.unsqueeze(-2)).squeeze(-2)
            return ranks
        both = coupling_apply(s.x, a, g, f, torch.stack((places, s.weight), -2))
        total, weight = both.unbind(-2)
        renormalized: Tensor = total / torch.where(s.valid, weight, 1.0)
        return renormalized
