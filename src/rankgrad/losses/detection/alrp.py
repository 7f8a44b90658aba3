"""aLRP loss: average localisation-recall-precision, one ranking for class and box."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankgrad import kernels
from rankgrad.checks import (
    check_choice,
    check_finite_number,
    check_floating,
    check_positive,
    check_reduction,
    check_same_device,
    result_dtype,
)
from rankgrad.distributed import Group, all_sum, members
from rankgrad.kernels.reference.rank_sort import EPS
from rankgrad.losses._module import settings
from rankgrad.losses.detection._locate import check_room, locate
from rankgrad.losses.detection._positives import GIVEN, Positives, check_most, flat_inputs, reduced
from rankgrad.losses.detection._state import fake_state, pack
from rankgrad.losses.detection._vmap import folded, kept, spoilt
from rankgrad.losses.detection._world import Everyone, world_errors
from rankgrad.losses.detection.average_precision import others, ranking_backward
from rankgrad.operators import front, operator

__all__ = ["ALRP", "ALRPLoss", "alrp"]


class ALRP(NamedTuple):
    """The result of :func:`alrp`.

    Attributes:
        classification: ``mean_i fp(i) / rank(i)``; its gradient goes to the logits.
        localization: ``mean_i`` of the localisation errors at or above ``i`` over ``rank(i)``; its
            gradient goes to the localisation errors.
        rank: [p] the soft rank of every positive among all logits, in input order, detached.
    """

    classification: Tensor
    localization: Tensor
    rank: Tensor


class _Facts(NamedTuple):
    """By positive: its error, pull, push, rank, and its share.

    The share is the sum of 1/rank over the positives that do not score higher.
    """

    error: Tensor
    pull: Tensor
    push: Tensor
    rank: Tensor
    share: Tensor


def _facts(positives: Positives, ahead: Tensor, errors: Tensor, delta: float) -> _Facts:
    rank = 1 + others(positives, None, delta) + ahead
    error = ahead / rank
    gate = ~(ahead <= EPS)
    pull = torch.where(gate, (others(positives, errors, delta) + ahead) / rank, 0.0)
    push = torch.where(gate, pull / ahead, 0.0)
    through = kernels.implementation("prefix_sums", rank.device)
    below = through((1 / rank).nan_to_num(), positives.starts)
    share = positives.slots.only(torch.where(rank.isnan(), rank, below))
    rank = positives.slots.only(rank)
    error, pull, rank = positives.spoil(error), positives.spoil(pull), positives.spoil(rank)
    return _Facts(error, pull, push, rank, share)


@operator("alrp")
def _alrp(
    logits: Tensor,
    targets: Tensor,
    localization: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    bounded: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the error (summed, or at the logits), the number of positives, facts and the state.

    The facts by positive, in input order: its rank and its share.
    """
    given = localization.numel()
    positives, order = locate(
        logits, targets, segments, exact_one=True, most=given if bounded else None
    )
    if (p := order.numel()) != given:
        raise ValueError(
            f"localization must have one error for each of the {p} positives, got {given}"
        )
    errors = positives.slots.only(localization.double()[order])
    ahead = positives.negatives_ahead(logits, targets, delta)
    error, pull, push, rank, share = _facts(positives, ahead, errors, delta)
    slots = positives.slots
    total = slots.scatter(error, logits) if dense else positives.spoil(error.sum())
    rank, share = (torch.empty_like(f).index_copy_(0, order, f) for f in (rank, share))
    return (
        total.to(logits.dtype),
        slots.count(logits),
        rank.to(logits.dtype),
        share.to(logits.dtype),
        pack(positives, pull=pull, push=push),
    )


@_alrp.register_fake
def _(
    logits: Tensor,
    targets: Tensor,
    localization: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    bounded: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    p = localization.shape[0]
    return (
        logits.new_empty(logits.shape if dense else ()),
        logits.new_empty(()),
        logits.new_empty((p,)),
        logits.new_empty((p,)),
        fake_state(logits, segments, 2, p, bounded),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, _, segments, delta, _, bounded = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(logits, targets, segments, output[-1])
    ctx.delta, ctx.bounded = delta, bounded


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad = ranking_backward(grad, *ctx.saved_tensors, ctx.delta, ctx.bounded)
    return grad, *(None,) * 6


_alrp.register_autograd(_backward, setup_context=_setup)


@_alrp.register_vmap
def _(
    info: Any,
    in_dims: tuple[Any, ...],
    logits: Tensor,
    targets: Tensor,
    localization: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    bounded: bool,
) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
    size = info.batch_size
    x, t, ids = folded(size, logits, targets, segments, (*in_dims[:2], in_dims[3]))
    given = front(localization, in_dims[2], size)
    n, p = x.numel() // size, given.shape[1]
    found = (t.view(size, n) == 1).sum(1)
    if bounded:
        check_room(found, p)
    else:
        torch._assert_async(
            (found == p).all(),
            "localization must have one error for each of the positives of every sample",
        )
    # The positives of all samples, and behind them what is given for none.
    order = (torch.arange(p, device=x.device) >= found[:, None]).flatten().argsort(stable=True)
    error, _, rank, share, state = _alrp(x, t, given.flatten()[order], ids, delta, True, bounded)
    rank, share = (torch.empty_like(f).index_copy_(0, order, f) for f in (rank, share))
    rows = error.view(size, n) if dense else error.view(size, n).sum(-1)
    return (
        spoilt(rows, found > p),
        found.clamp(max=p).to(x.dtype),
        rank.view(size, p),
        share.view(size, p),
        state,
    ), (0, 0, 0, 0, None)


def alrp(
    logits: Float[Tensor, "*shape"],
    targets: Tensor,
    localization: Float[Tensor, " p"],
    *,
    delta: float = 1.0,
    segments: Int[Tensor, "*shape"] | None = None,
    reduction: str = "mean",
    group: Group = None,
    max_positives: int | None = None,
) -> ALRP:
    """Return the two parts of the average localisation-recall-precision error, and the ranks.

    With the ramp ``H`` of half width ``delta``, over positives ``i, k`` with localisation errors
    ``e_k`` and negatives ``j``::

        fp(i)   = sum_j H(x_j - s_i)
        rank(i) = 1 + sum_{k != i} H(s_k - s_i) + fp(i)
        classification = mean_i fp(i) / rank(i)
        localization   = mean_i (sum of e_k over s_k >= s_i) / rank(i)

    Of equal scores ``localization`` takes the later one as the higher, as published. The gradient
    of ``classification`` is error-driven and takes the localisation errors ahead of a positive
    into account, as published: ``sum_{k != i} H(s_k - s_i) e_k + fp(i)`` over ``rank(i)`` pulls
    positive ``i`` (unless ``fp(i)`` is below 1e-5) and is pushed down on the negatives ahead.
    The gradient of ``localization`` is its derivative with the ranks held fixed.

    Args:
        logits: scores of any shape; the ranking is over all of them.
        targets: same shape, 1 for positives, 0 for negatives, anything else is ignored.
        localization: [p], the localisation error of every positive in the order in which they
            stand in the flattened ``logits``, for example ``1 - GIoU``.
        delta: half width of the ramp; with 0 it is the step that counts ties whole.
        segments: integer ids in the shape of ``logits``; each id is ranked on its own.
        reduction: "mean" over all positives, "sum", or "none": ``classification`` at the logits in
            their shape, and ``localization`` by positive.
        group: the workers whose logits are ranked together, as in
            :func:`~rankgrad.functional.rank_sort`.
        max_positives: at most so many positives, as in :func:`~rankgrad.functional.rank_sort`.
            ``localization`` and ``rank`` then have that many entries, whatever stands in those
            beyond the positives.

    Raises:
        TypeError: ``logits`` or ``localization`` is not floating point, ``segments`` not integer.
        ValueError: shapes or devices differ, ``localization`` has not one entry a positive,
            ``delta`` is negative, ``reduction`` is unknown, or on the CPU there are more than
            ``max_positives``.

    Source: Oksuz, Cam, Akbas & Kalkan, "A Ranking-based, Balanced Loss Function Unifying
    Classification and Localisation in Object Detection", NeurIPS 2020.

    >>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
    >>> parts = alrp(logits, torch.tensor([0, 1, 1, 0]), torch.tensor([0.2, 0.4]))
    >>> round(parts.classification.item(), 4), round(parts.localization.item(), 4)
    (0.404, 0.1535)
    """
    delta = check_positive("delta", delta, zero_allowed=True)
    check_reduction(reduction)
    check_floating("localization", localization)
    if localization.dim() != 1:
        raise ValueError(
            f"localization must have one dimension, got shape {tuple(localization.shape)}"
        )
    x, t, ids = flat_inputs(logits, targets, segments)
    check_same_device("localization", localization, "logits", logits)
    bounded = check_most(max_positives) is not None
    if bounded and localization.shape[0] != max_positives:
        raise ValueError(
            f"localization must have max_positives = {max_positives} entries, "
            f"got {localization.shape[0]}"
        )
    errors = localization.to(x.dtype)
    dense = reduction == "none"
    if (workers := members(group)) is None:
        error, count, rank, share, _ = _alrp(x, t, errors.detach(), ids, delta, dense, bounded)
    else:
        everyone = Everyone(x, t, ids, workers, True, errors.detach(), max_positives)
        ahead = everyone.negatives_ahead(x, t, delta)
        assert everyone.extra is not None
        facts = _facts(everyone.positives, ahead, everyone.extra, delta)
        (error,), count = world_errors(
            x,
            t,
            everyone,
            facts[:1],
            delta,
            dense,
            lambda c: (c[0] * facts.pull, c[0] * facts.push),
        )  # fmt: skip
        rank, share = (everyone.mine(f).to(x.dtype) for f in (facts.rank, facts.share))
    if bounded:  # what is given for no positive may be anything
        errors = torch.where(share > 0, errors, 0.0)
    located = errors * share
    if reduction != "none":
        located = all_sum(located.sum(), group)
    if reduction == "mean":
        located = located / count.clamp(min=1)
    return ALRP(
        reduced(error, count, reduction, logits), located.to(result_dtype(localization)), rank
    )


class ALRPLoss(nn.Module):
    """Classification plus weighted localisation part of aLRP; see :func:`alrp`.

    ``parts`` holds the detached parts of the last call, "classification" and "localization";
    nothing after a call under ``vmap``.

    Args:
        delta: half width of the ramp.
        localization_weight: factor of the localisation part; the paper balances it by epoch, see
            :class:`EpochBalance`.
        reduction: "mean" or "sum".
        group: the workers whose logits are ranked together.
        max_positives: at most so many positives; see :func:`alrp`.

    >>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
    >>> loss = ALRPLoss()(logits, torch.tensor([0, 1, 1, 0]), torch.tensor([0.2, 0.4]))
    >>> round(loss.item(), 4)
    0.5576
    """

    parts: dict[str, Tensor]

    def __init__(
        self,
        delta: float = 1.0,
        localization_weight: float = 1.0,
        reduction: str = "mean",
        group: Group = None,
        max_positives: int | None = None,
    ) -> None:
        super().__init__()
        self.delta = check_positive("delta", delta, zero_allowed=True)
        self.localization_weight = check_finite_number("localization_weight", localization_weight)
        check_choice("reduction", reduction, ("mean", "sum"))
        self.reduction = reduction
        self.group = group
        self.max_positives = check_most(max_positives)
        self.parts = {}

    def extra_repr(self) -> str:
        return settings(self, "delta", "localization_weight", "reduction", given=GIVEN)

    def forward(
        self,
        logits: Float[Tensor, "*shape"],
        targets: Tensor,
        localization: Float[Tensor, " p"],
        segments: Int[Tensor, "*shape"] | None = None,
    ) -> Tensor:
        """Return the loss; arguments as in :func:`alrp`."""
        parts = alrp(
            logits,
            targets,
            localization,
            delta=self.delta,
            segments=segments,
            reduction=self.reduction,
            group=self.group,
            max_positives=self.max_positives,
        )
        self.parts = kept(classification=parts.classification, localization=parts.localization)
        return parts.classification + self.localization_weight * parts.localization
