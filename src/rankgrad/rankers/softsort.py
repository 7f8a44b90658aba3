"""SoftSort: a softmax over the distances to the sorted scores."""

from dataclasses import dataclass
from typing import ClassVar

from rankgrad.rankers.unimodal import UnimodalRanker

__all__ = ["SoftSort"]


@dataclass(frozen=True)
class SoftSort(UnimodalRanker):
    r"""Place ``i`` takes the scores near the ``i``-th largest one, ``s_[i]``.

    .. math::
        P_{ij} = \mathrm{softmax}_j(-|s_{[i]} - s_j| / temperature)

    Ranks are mean places. With ``renormalize`` the places of item ``j`` are weighted by the same
    kernel, normalised over the places,
    ``rank_j = sum_i i K_ij / sum_i K_ij`` with ``K_ij = exp(-|s_[i] - s_j| / temperature)``:
    they stay in ``[1, n]`` and never contradict the order of the scores. Without it
    ``rank_j = sum_i i P_ij``: these ranks sum to ``n (n + 1) / 2``, but columns of ``P`` do not
    sum to 1, so that a rank can leave ``[1, n]`` and close neighbours can swap.

    Args:
        temperature: the distance over which scores mix; above zero.
        renormalize: whether the weights of an item over the places sum to 1 in its rank.

    Cost: one sort, then ``O(n)`` time and memory for ranks, sorted values and gradients, by
    running sums that decay with the gaps; ``O(n n)`` for the matrix.

    Source: Prillo, Eisenschlos: SoftSort: A Continuous Relaxation for the argsort Operator,
    ICML 2020.

    >>> import torch
    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> SoftSort(temperature=0.1)(scores)
    tensor([2.9480, 1.0520, 2.0000])
    >>> SoftSort(temperature=0.1).sort(scores)
    tensor([0.6844, 0.4000, 0.1156])
    >>> SoftSort(temperature=0.1).permutation(scores)
    tensor([[0.0024, 0.9503, 0.0473],
            [0.0453, 0.0453, 0.9094],
            [0.9503, 0.0024, 0.0473]])
    """

    _kind: ClassVar[str] = "softsort"
