"""AP loss: one minus the interpolated average precision."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankgrad.checks import check_positive, check_reduction
from rankgrad.distributed import Group, members
from rankgrad.losses._module import settings
from rankgrad.losses.detection._locate import locate
from rankgrad.losses.detection._positives import (
    GIVEN,
    Positives,
    check_most,
    comparison,
    flat_inputs,
    gradient,
    per_positive,
    reduced,
)
from rankgrad.losses.detection._state import fake_state, pack, unpack
from rankgrad.losses.detection._vmap import fold_backward, fold_forward
from rankgrad.losses.detection._world import Everyone, world_errors
from rankgrad.operators import operator

__all__ = ["APLoss", "ap_loss"]


def others(positives: Positives, weights: Tensor | None, delta: float) -> Tensor:
    """Return ``sum_j weights_j H(s_j - s_i)`` over the other positives of the segment."""
    itself = comparison(delta).tie
    own = itself if weights is None else itself * weights
    return positives.sum_over_positives(weights, delta) - own


def _running_best(precision: Tensor, segment: Tensor | None) -> Tensor:
    """Return the running maximum within each segment; precision lies in (0, 1], or is NaN."""
    if segment is None:
        return precision.nan_to_num().cummax(0).values
    return (precision.nan_to_num() + 2.0 * segment).cummax(0).values - 2.0 * segment


def _errors(positives: Positives, ahead: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Return the error of every positive, which is also its pull, and its push."""
    true = 1 + others(positives, None, delta)
    rank = true + ahead
    precision = true / rank
    best = precision
    if precision.numel():
        best = torch.maximum(precision, _running_best(precision, positives.segment))
    error = positives.spoil(1 - best)
    return error, torch.where(best > precision, error / ahead, 1 / rank)


@operator("ap")
def _ap(
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    most: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the error (summed, or at the logits), the number of positives and the state."""
    positives, _ = locate(logits, targets, segments, exact_one=True, most=most)
    ahead = positives.negatives_ahead(logits, targets, delta)
    error, push = _errors(positives, ahead, delta)
    state = pack(positives, pull=error, push=push)
    count = positives.slots.count(logits)
    if dense:
        return positives.slots.scatter(error, logits), count, state
    return positives.spoil(error.sum()).to(logits.dtype), count, state


@_ap.register_fake
def _(
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    most: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        logits.new_empty(logits.shape if dense else ()),
        logits.new_empty(()),
        fake_state(logits, segments, 2, most, most is not None),
    )


@operator("ranking_backward")
def ranking_backward(
    grad: Tensor,
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    state: Tensor,
    delta: float,
    bounded: bool,
) -> Tensor:
    """Return the gradient of an error whose state holds ``pull`` and ``push``."""
    positives, (pull, push) = unpack(state, logits, segments, bounded)
    weight = per_positive(grad, positives.slots)
    return gradient(logits, targets, positives, delta, weight * pull, weight * push)


@ranking_backward.register_fake
def _(
    grad: Tensor,
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    state: Tensor,
    delta: float,
    bounded: bool,
) -> Tensor:
    return torch.empty_like(logits)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, segments, delta, _, most = inputs
    _, count, state = output
    ctx.mark_non_differentiable(count, state)
    ctx.save_for_backward(logits, targets, segments, state)
    ctx.delta, ctx.bounded = delta, most is not None


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad = ranking_backward(grad, *ctx.saved_tensors, ctx.delta, ctx.bounded)
    return grad, *(None,) * 5


_ap.register_autograd(_backward, setup_context=_setup)
fold_forward(_ap, 1, lambda targets: targets == 1)
fold_backward(ranking_backward, 1)


def ap_loss(
    logits: Float[Tensor, "*shape"],
    targets: Tensor,
    *,
    delta: float = 1.0,
    segments: Int[Tensor, "*shape"] | None = None,
    reduction: str = "mean",
    group: Group = None,
    max_positives: int | None = None,
) -> Tensor:
    """Return one minus the interpolated average precision, with its error-driven gradient.

    With the ramp ``H`` of half width ``delta``, over positives ``i, k`` and negatives ``j``::

        true(i)      = 1 + sum_{k != i} H(s_k - s_i)
        precision(i) = true(i) / (true(i) + sum_j H(x_j - s_i))
        loss         = mean_i (1 - max of precision(k) over s_k <= s_i)

    ``O(N + P log P)`` time and ``O(N)`` memory.

    Args:
        logits: scores of any shape; the ranking is over all of them.
        targets: same shape, 1 for positives, 0 for negatives, anything else is ignored.
        delta: half width of the ramp; with 0 it is the step that counts ties whole, as
            scikit-learn's average precision does.
        segments: integer ids in the shape of ``logits``; each id is ranked on its own.
        reduction: "mean" over all positives, "sum", or "none" for the errors at their logits in
            the shape of ``logits``, 0 elsewhere.
        group: the workers whose logits are ranked together, as in
            :func:`~rankgrad.functional.rank_sort`.
        max_positives: at most so many positives, as in :func:`~rankgrad.functional.rank_sort`.

    Returns:
        The loss in the dtype of ``logits``; 0 with zero gradient without positives. A NaN among the
        logits that count, or among the targets, gives NaN; so do, on a GPU, more than
        ``max_positives``.

    Raises:
        TypeError: ``logits`` is not floating point or ``segments`` not integer.
        ValueError: shapes or devices differ, ``delta`` is negative, ``reduction`` is unknown, or on
            the CPU there are more than ``max_positives``.

    Source: Chen, Lin, Li, Li & Zou, "Towards Accurate One-Stage Object Detection with AP-Loss",
    CVPR 2019.

    >>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
    >>> loss = ap_loss(logits, torch.tensor([0, 1, 1, 0]))
    >>> round(loss.item(), 4)
    0.3636
    """
    delta = check_positive("delta", delta, zero_allowed=True)
    check_reduction(reduction)
    x, t, ids = flat_inputs(logits, targets, segments)
    dense, most = reduction == "none", check_most(max_positives)
    if (workers := members(group)) is None:
        error, count, _ = _ap(x, t, ids, delta, dense, most)
    else:
        everyone = Everyone(x, t, ids, workers, True, None, most)
        ahead = everyone.negatives_ahead(x, t, delta)
        errors, push = _errors(everyone.positives, ahead, delta)
        (error,), count = world_errors(
            x, t, everyone, [errors], delta, dense, lambda c: (c[0] * errors, c[0] * push)
        )
    return reduced(error, count, reduction, logits)


class APLoss(nn.Module):
    """One minus the interpolated average precision; see :func:`ap_loss`.

    Args:
        delta: half width of the ramp.
        reduction: "mean", "sum" or "none".
        group: the workers whose logits are ranked together.
        max_positives: at most so many positives; see :func:`ap_loss`.

    >>> APLoss()(torch.tensor([2.0, -1.0]), torch.tensor([1, 0]))
    tensor(0.)
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str = "mean",
        group: Group = None,
        max_positives: int | None = None,
    ) -> None:
        super().__init__()
        self.delta = check_positive("delta", delta, zero_allowed=True)
        check_reduction(reduction)
        self.reduction = reduction
        self.group = group
        self.max_positives = check_most(max_positives)

    def extra_repr(self) -> str:
        return settings(self, "delta", "reduction", given=GIVEN)

    def forward(
        self,
        logits: Float[Tensor, "*shape"],
        targets: Tensor,
        segments: Int[Tensor, "*shape"] | None = None,
    ) -> Tensor:
        """Return the loss; arguments as in :func:`ap_loss`."""
        return ap_loss(
            logits,
            targets,
            delta=self.delta,
            segments=segments,
            reduction=self.reduction,
            group=self.group,
            max_positives=self.max_positives,
        )
