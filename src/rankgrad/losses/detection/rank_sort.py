"""Rank & Sort loss: positives above negatives, and positives in the order of their quality."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankgrad import kernels
from rankgrad.checks import check_positive, check_reduction
from rankgrad.distributed import Group, members
from rankgrad.losses._module import settings
from rankgrad.losses.detection._locate import locate
from rankgrad.losses.detection._positives import (
    GIVEN,
    Positives,
    check_most,
    flat_inputs,
    gradient,
    per_positive,
    reduced,
)
from rankgrad.losses.detection._state import fake_state, pack, unpack
from rankgrad.losses.detection._vmap import fold_backward, fold_forward, kept
from rankgrad.losses.detection._world import Everyone, world_errors
from rankgrad.operators import operator

__all__ = ["RankSortLoss", "rank_sort"]


def _check_quality(quality: Tensor, positives: Positives) -> Positives:
    """Raise if a quality exceeds 1; where the host does not ask the device, give up on them."""
    if quality.numel() == 0:
        return positives
    wrong = quality.amax() > 1.001
    if positives.slots.taken is not None and quality.device.type != "cpu":
        return replace(positives, broken=positives.broken | wrong)
    if wrong:
        raise ValueError(
            f"targets must be at most 1 (the IoU of positives, 0 for negatives), "
            f"got {quality.amax().item():.6g}"
        )
    return positives


def _errors(
    positives: Positives, quality: Tensor, ahead: Tensor, delta: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return both errors of every positive, and what backward needs of each."""
    serve = kernels.implementation("rank_sort_errors", quality.device)
    rows = serve(positives.scores, quality, ahead, positives.starts, delta)
    ranking, sorting, pull = positives.spoil(rows[:3])
    facts = {"pull": pull, "push": rows[3], "sorting": sorting, "missorted": rows[4]}
    return ranking, sorting, facts


def _pulls(
    positives: Positives, quality: Tensor, facts: Tensor, cotangents: Tensor, delta: float
) -> tuple[Tensor, Tensor]:
    """Return by how much each positive is pulled up, and how hard it pushes negatives down."""
    serve = kernels.implementation("rank_sort_pulls", quality.device)
    pull, push = serve(positives.scores, quality, facts, cotangents, positives.starts, delta)
    return pull, push


@operator("rank_sort")
def _rank_sort(
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    most: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return both errors (summed, or at their logits), the number of positives and the state."""
    positives, _ = locate(logits, targets, segments, exact_one=False, most=most)
    quality = positives.slots.take(targets, free=1.0).double()
    positives = _check_quality(quality, positives)
    ahead = positives.negatives_ahead(logits, targets, delta)
    ranking, sorting, facts = _errors(positives, quality, ahead, delta)
    state = pack(positives, **facts)
    slots, count = positives.slots, positives.slots.count(logits)
    if dense:
        return slots.scatter(ranking, logits), slots.scatter(sorting, logits), count, state
    ranked, sorted_ = positives.spoil(ranking.sum()), positives.spoil(sorting.sum())
    return ranked.to(logits.dtype), sorted_.to(logits.dtype), count, state


@_rank_sort.register_fake
def _(
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    delta: float,
    dense: bool,
    most: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = logits.shape if dense else ()
    return (
        logits.new_empty(shape),
        logits.new_empty(shape),
        logits.new_empty(()),
        fake_state(logits, segments, 4, most, most is not None),
    )


@operator("rank_sort_backward")
def _rank_sort_backward(
    grad_ranking: Tensor,
    grad_sorting: Tensor,
    logits: Tensor,
    targets: Tensor,
    segments: Tensor | None,
    state: Tensor,
    delta: float,
    bounded: bool,
) -> Tensor:
    positives, facts = unpack(state, logits, segments, bounded)
    quality = positives.slots.take(targets, free=1.0).double()
    given = [per_positive(g, positives.slots) for g in (grad_ranking, grad_sorting)]
    pull, push = _pulls(positives, quality, facts, torch.stack(given), delta)
    return gradient(logits, targets, positives, delta, pull, push)


@_rank_sort_backward.register_fake
def _(
    grad_ranking: Tensor,
    grad_sorting: Tensor,
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
    count, state = output[-2:]
    ctx.mark_non_differentiable(count, state)
    ctx.save_for_backward(logits, targets, segments, state)
    ctx.delta, ctx.bounded = delta, most is not None


def _backward(
    ctx: Any, grad_ranking: Tensor, grad_sorting: Tensor, *_: Tensor
) -> tuple[Tensor | None, ...]:
    grad = _rank_sort_backward(
        grad_ranking, grad_sorting, *ctx.saved_tensors, ctx.delta, ctx.bounded
    )
    return grad, *(None,) * 5


_rank_sort.register_autograd(_backward, setup_context=_setup)
fold_forward(_rank_sort, 2, lambda targets: targets > 0)
fold_backward(_rank_sort_backward, 2)


def rank_sort(
    logits: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    *,
    delta: float = 0.5,
    segments: Int[Tensor, "*shape"] | None = None,
    reduction: str = "mean",
    group: Group = None,
    max_positives: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the ranking error and the sorting error, each with a gradient of its own.

    With the ramp ``H`` of half width ``delta``, over positives ``i, k`` and negatives ``j``::

        ranking(i) = sum_j H(x_j - s_i) / (sum_k H(s_k - s_i) + sum_j H(x_j - s_i))
        now(i)     = sum_k H(s_k - s_i) (1 - t_k) / sum_k H(s_k - s_i)
        goal(i)    = the same sums over those k with t_k >= t_i
        sorting(i) = now(i) - goal(i)

    The gradients are error-driven updates, not derivatives: a positive is pulled up by its error,
    and that mass is pushed down on the negatives (on the positives of lower target) ahead of it
    in proportion to ``H``. ``O(N + P log P)`` time and ``O(N)`` memory for N logits of which P
    are positive: no matrix of pairs.

    Args:
        logits: scores of any shape; the ranking is over all of them.
        targets: same shape; IoU in (0, 1] for positives, 0 for negatives, below 0 to ignore. A
            positive whose IoU is exactly 0 would be a negative: clamp positives away from 0.
        delta: half width of the ramp; with 0 it is the step that counts ties whole.
        segments: integer ids in the shape of ``logits``; each id (a class, an image) is ranked on
            its own.
        reduction: "mean" over all positives, "sum", or "none" for the errors at their logits in
            the shape of ``logits``, 0 elsewhere.
        group: the workers whose logits are ranked together: None for this process alone, "world",
            or a process group. The errors are then those of all workers, on each of them; what is
            communicated grows with the positives. Not for ``vmap``; breaks the graph under
            ``torch.compile``.
        max_positives: at most so many positives, here and on every worker. Then no size depends on
            how many there are: nothing waits for a GPU to count them, and CUDA graphs capture the
            loss. It costs about as much as that many positives.

    Returns:
        The two errors in the dtype of ``logits`` (float16 and bfloat16 are computed in float32).
        Without positives both are 0 with zero gradient. A NaN among the logits that count, or
        among the targets, gives NaN; so do, on a GPU, what is an error on the CPU: more than
        ``max_positives``, and with that bound a target above 1.

    Raises:
        TypeError: ``logits`` is not floating point or ``segments`` not integer.
        ValueError: shapes or devices differ, ``delta`` is negative, ``reduction`` is unknown, a
            target exceeds 1, or on the CPU there are more than ``max_positives``.

    Source: Oksuz, Cam, Akbas & Kalkan, "Rank & Sort Loss for Object Detection and Instance
    Segmentation", ICCV 2021.

    >>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
    >>> ranking, sorting = rank_sort(logits, torch.tensor([0.0, 0.5, 0.9, 0.0]))
    >>> round(ranking.item(), 4), round(sorting.item(), 4)
    (0.5333, 0.1333)
    """
    delta = check_positive("delta", delta, zero_allowed=True)
    check_reduction(reduction)
    x, t, ids = flat_inputs(logits, targets, segments)
    dense, most = reduction == "none", check_most(max_positives)
    if (workers := members(group)) is None:
        ranking, sorting, count, _ = _rank_sort(x, t, ids, delta, dense, most)
    else:
        everyone = Everyone(x, t, ids, workers, False, None, most)
        positives = _check_quality(everyone.targets, everyone.positives)
        ahead = everyone.negatives_ahead(x, t, delta)
        *errors, facts = _errors(positives, everyone.targets, ahead, delta)
        pulls = partial(_pulls, positives, everyone.targets, torch.stack(list(facts.values())))
        (ranking, sorting), count = world_errors(
            x, t, everyone, errors, delta, dense, partial(pulls, delta=delta)
        )
    return reduced(ranking, count, reduction, logits), reduced(sorting, count, reduction, logits)


class RankSortLoss(nn.Module):
    """Rank & Sort loss: ranking error plus sorting error; see :func:`rank_sort`.

    ``parts`` holds the detached errors of the last call by name, "ranking" and "sorting"; nothing
    after a call under ``vmap``.

    Args:
        delta: half width of the ramp.
        reduction: "mean", "sum" or "none".
        group: the workers whose logits are ranked together.
        max_positives: at most so many positives; see :func:`rank_sort`.

    >>> loss_fn = RankSortLoss()
    >>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
    >>> loss = loss_fn(logits, torch.tensor([0.0, 0.5, 0.9, 0.0]))
    >>> loss.backward()
    >>> loss_fn
    RankSortLoss(delta=0.5, reduction='mean')
    """

    parts: dict[str, Tensor]

    def __init__(
        self,
        delta: float = 0.5,
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
        self.parts = {}

    def extra_repr(self) -> str:
        return settings(self, "delta", "reduction", given=GIVEN)

    def forward(
        self,
        logits: Float[Tensor, "*shape"],
        targets: Float[Tensor, "*shape"],
        segments: Int[Tensor, "*shape"] | None = None,
    ) -> Tensor:
        """Return the sum of both errors; arguments as in :func:`rank_sort`."""
        ranking, sorting = rank_sort(
            logits,
            targets,
            delta=self.delta,
            segments=segments,
            reduction=self.reduction,
            group=self.group,
            max_positives=self.max_positives,
        )
        self.parts = kept(ranking=ranking, sorting=sorting)
        return ranking + sorting
