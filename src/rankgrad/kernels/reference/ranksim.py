"""RankSim by PyTorch: who takes part, directions, rank errors and their blackbox gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from rankgrad.kernels.reference.ranking import hard_rank

__all__ = [
    "ranksim_directions",
    "ranksim_order",
    "ranksim_pull",
    "ranksim_rows",
    "ranksim_turn",
]


def ranksim_order(labels: Tensor, order: Tensor, mask: Tensor | None, distinct: bool) -> Tensor:
    """Return the samples by ascending ``labels`` [n, L]; with ``distinct`` one of each label.

    Equal ones come as in ``order``, and the first of them is the one. Masked samples are left out.
    The size of the result depends on the data.
    """
    if mask is not None:
        order = order[mask[order]]
    for column in reversed(range(labels.shape[1])):
        order = order[labels[order, column].argsort(stable=True)]
    if not distinct:
        return order
    ordered = labels[order]
    opens = torch.ones_like(order, dtype=torch.bool)
    opens[1:] = (ordered[1:] != ordered[:-1]).any(-1)
    return order[opens]


def ranksim_directions(
    points: Tensor, order: Tensor, count: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return rows of ``points`` [n, d] scaled to length one, and by what; in the given order.

    Rows of zeros stay, scale 0; so do those from the ``count``-th on, whatever they hold.
    """
    points = points.index_select(0, order)
    if points.numel() == 0:
        return points, points.new_zeros(points.shape[0], 1)
    # Magnitude one before squaring, so that nothing leaves the range of the dtype.
    size = points.abs().amax(-1, keepdim=True)
    zero = size == 0
    if count is not None:
        zero |= torch.arange(points.shape[0], device=points.device)[:, None] >= count
    units = torch.where(zero, 0.0, points / torch.where(zero, 1.0, size))
    shrink = torch.where(zero, 0.0, 1 / torch.linalg.vector_norm(units, dim=-1, keepdim=True))
    return units * shrink, shrink / torch.where(zero, 1.0, size)


def ranksim_turn(pull: Tensor, units: Tensor, shrink: Tensor, order: Tensor, n: int) -> Tensor:
    """Return the gradient of the ``n`` points for that of their directions ``units``."""
    along = (pull * units).sum(-1, keepdim=True)
    turned = torch.addcmul(pull, along, units, value=-1) * shrink
    return pull.new_zeros(n, pull.shape[1]).index_copy_(0, order, turned)


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
    """Return ``grad_i slope_ij + grad_j slope_ji``: a pair belongs to two rows."""
    pull = grad[:, None] * slope
    return pull + pull.mT
