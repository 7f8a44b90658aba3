"""NeuralSort: a softmax whose maximum in row i is the i-th largest score."""

from dataclasses import dataclass
from typing import ClassVar

from rankgrad.rankers.unimodal import UnimodalRanker

__all__ = ["NeuralSort"]


@dataclass(frozen=True)
class NeuralSort(UnimodalRanker):
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

    >>> import torch
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

    _kind: ClassVar[str] = "neuralsort"
