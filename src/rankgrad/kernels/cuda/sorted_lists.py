"""Queries and keys as the pairwise kernels want them: keys in ascending order, by segment first."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SortedLists", "sorted_lists"]


@dataclass(frozen=True)
class SortedLists:
    """What :func:`sorted_lists` returns; contiguous.

    Attributes:
        q: [rows, n_q] the queries as they came.
        q_order: [rows, n_q] the places of the queries in ascending order.
        k: [rows, n_k] the keys in ascending order.
        w: [rows, n_k] their weights, None for ones.
        ids: [rows, n_k] the segments of the keys, ascending; None if every pair counts.
        low, high: [rows, n_q] where the keys of the segment of each query start and end, for the
            queries in ascending order; None likewise.
    """

    q: Tensor
    q_order: Tensor
    k: Tensor
    w: Tensor | None
    ids: Tensor | None
    low: Tensor | None
    high: Tensor | None


def sorted_lists(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    q_order: Tensor,
    k_order: Tensor,
) -> SortedLists:
    """Bring the arguments of ``pairwise`` into order. Nothing here makes the host wait."""
    ids, low, high = None, None, None
    if q_segments is not None and k_segments is not None:
        ids, wanted = k_segments.gather(-1, k_order), q_segments.gather(-1, q_order)
        low = torch.searchsorted(ids, wanted)
        high = torch.searchsorted(ids, wanted, right=True)
    return SortedLists(
        q.detach().contiguous(),
        q_order.contiguous(),
        k.detach().gather(-1, k_order),
        None if w is None else w.detach().gather(-1, k_order),
        ids,
        low,
        high,
    )
