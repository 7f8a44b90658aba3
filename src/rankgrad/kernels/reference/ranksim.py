"""RankSim's rows by PyTorch: rank errors, and their blackbox gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from rankgrad.kernels.reference.ranking import hard_rank

__all__ = ["ranksim_pull", "ranksim_rows"]


def ranksim_rows(
    similarity: Tensor,
    labels: Tensor,
    count: Tensor | None,
    strength: float,
    want_slope: bool,
    hard_rank: Callable[..., Tensor] = hard_rank,
) -> tuple[Tensor, Tensor]:
    """Return the error of each row and its blackbox gradient for ``similarity`` [n, n].

    Only the first ``count`` samples take part (None = all); with one label dimension their
    ``labels`` [n, L] ascend. Row ``i`` compares the average ranks of ``similarity[i]``, over
    ``m = count``, with those of ``-sum_l |labels[i, l] - labels[:, l]|``: their mean squared
    difference is its error. Its gradient is how far the ranks move, over ``strength``, when the
    row moves by ``strength`` times the derivative of the error for the ranks; empty unless wanted.
    """
    n = similarity.shape[0]
    if count is None:
        mask, m = None, torch.full((), n, device=similarity.device)
    else:
        valid = torch.arange(n, device=similarity.device) < count
        mask, m = valid & valid[:, None], count
    m = m.clamp(min=1)
    distance = torch.cdist(labels, labels, p=1.0)
    wanted = hard_rank(distance, mask, False, "average", True).to(similarity.dtype)
    ranks = hard_rank(similarity, mask, True, "average", True)
    error = ranks - wanted
    loss = error.square().sum(-1) / m
    if not want_slope:
        return loss, similarity.new_empty(0)
    moved = similarity + (2 * strength / m).to(similarity.dtype) * error
    return loss, (hard_rank(moved, mask, True, "average", True) - ranks) / strength


def ranksim_pull(slope: Tensor, grad: Tensor) -> Tensor:
    """Return ``grad_i slope_ij + grad_j slope_ji``: a similarity belongs to two rows."""
    pull = grad[:, None] * slope
    return pull + pull.mT
