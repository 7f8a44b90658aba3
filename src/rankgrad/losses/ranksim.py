"""RankSim: neighbours rank alike by label and by feature."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad import kernels
from rankgrad.checks import (
    check_choice,
    check_finite_number,
    check_floating,
    check_mask,
    check_positive,
    check_real,
    check_reduction,
    check_same_device,
    compute_dtype,
    result_dtype,
)
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import full_precision, reduce
from rankgrad.losses._rows import real
from rankgrad.losses._world import Group, gathered
from rankgrad.operators import operator
from rankgrad.rankers import Ranker, as_ranker
from rankgrad.ranks import rank
from rankgrad.sorting import argsort

__all__ = ["RankSimLoss", "by_label", "rank_sim_loss"]

UNIQUE = ("sample", "first", "none")


@operator("ranksim")
def _ranksim(
    points: Tensor,
    targets: Tensor,
    order: Tensor,
    count: Tensor | None,
    strength: float,
    want_slope: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss of each row, its gradient for the cosines, directions and 1 / lengths.

    Rows are those of ``points`` and ``targets`` in the order of their labels, the first ``count``.
    """
    direct = kernels.implementation("ranksim_directions", points.device)
    units, shrink = direct(points.detach(), order, count)
    with full_precision(points.device):
        similarity = units @ units.mT
    labels = targets.index_select(0, order)
    if count is not None:  # what the others hold, NaN included, must reach nothing
        place = torch.arange(len(labels), device=labels.device)
        labels = torch.where((place < count)[:, None], labels, 0.0)
    serve = kernels.implementation("ranksim_rows", points.device)
    loss, slope = serve(similarity, labels, count, strength, want_slope)
    return loss, slope, units, shrink


@_ranksim.register_fake
def _(
    points: Tensor,
    targets: Tensor,
    order: Tensor,
    count: Tensor | None,
    strength: float,
    want_slope: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    m = order.shape[0]
    slope = points.new_empty((m, m) if want_slope else 0)
    return points.new_empty(m), slope, points.new_empty(m, points.shape[1]), points.new_empty(m, 1)


@operator("ranksim_pull")
def _pull(slope: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient for the cosines, which belong to two rows each, by that of the rows."""
    pull: Tensor = kernels.implementation("ranksim_pull", slope.device)(slope, grad)
    return pull


@_pull.register_fake
def _(slope: Tensor, grad: Tensor) -> Tensor:
    return torch.empty_like(slope)


@operator("ranksim_turn")
def _turn(pull: Tensor, units: Tensor, shrink: Tensor, order: Tensor, n: int) -> Tensor:
    """Return the gradient of the points by that of their directions."""
    serve = kernels.implementation("ranksim_turn", pull.device)
    turned: Tensor = serve(pull, units, shrink, order, n)
    return turned


@_turn.register_fake
def _(pull: Tensor, units: Tensor, shrink: Tensor, order: Tensor, n: int) -> Tensor:
    return pull.new_empty(n, pull.shape[1])


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]  # torch's own context object
    ctx.mark_non_differentiable(*output[1:])
    ctx.n = inputs[0].shape[0]
    ctx.save_for_backward(inputs[2], *output[1:])


def _backward(ctx, grad, _slope, _units, _shrink):  # type: ignore[no-untyped-def]
    order, slope, units, shrink = ctx.saved_tensors
    with full_precision(units.device):
        pull = _pull(slope, grad) @ units
    return _turn(pull, units, shrink, order, ctx.n), None, None, None, None, None


_ranksim.register_autograd(_backward, setup_context=_setup)


@gathered("features", "labels", along=0, mask_shape=lambda shape: shape[:1])
def rank_sim_loss(
    features: Float[Tensor, "n *d"],
    labels: Shaped[Tensor, "n *label_dims"],
    *,
    weight: float = 1.0,
    strength: float = 2.0,
    unique: str = "sample",
    ranker: Ranker | str | Callable[..., Tensor] = "blackbox",
    generator: torch.Generator | None = None,
    mask: Bool[Tensor, " n"] | None = None,
    reduction: str = "sum",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return how differently the samples rank as neighbours of each other by label and feature.

    With the cosine similarity ``s_ij`` of the features, the label distance
    ``d_ij = sum_l |y_il - y_jl|``, and ``m`` samples that take part, row ``i`` has the loss

    .. math::
        L_i = \text{weight} \cdot \frac1m \sum_j
              \Big( \frac{\operatorname{rank}_j(s_i)}{m}
                  - \frac{\operatorname{rank}_j(-d_i)}{m} \Big)^2

    Equal values share the average of their ranks. With ``ranker="blackbox"``, the published one,
    the ranks are hard and the gradient for the similarities comes from one perturbed ranking:

    .. math::
        \frac{\partial L_i}{\partial s_i} := \frac{\text{weight}}{m \cdot \text{strength}} \Big(
        \operatorname{rank}(s_i + \text{strength} \cdot g_i) - \operatorname{rank}(s_i) \Big),
        \quad g_i = \frac2m \Big(\frac{\operatorname{rank}(s_i)}{m}
                  - \frac{\operatorname{rank}(-d_i)}{m}\Big)

    ``g`` is the gradient of the unweighted row, so that ``strength`` alone says how far the
    perturbation goes and the gradient is proportional to ``weight``, to a weight outside, and to
    the scale of a ``GradScaler``. (In the authors' code whatever multiplies the loss sits inside
    the perturbation and hardly changes the size of the gradient:
    :mod:`rankgrad.compat.ranksim` keeps that, and so does a ``Blackbox`` object as ``ranker``.)

    Args:
        features: ``[n, *d]``, flattened per sample. Features of length zero are similar to none
            and get no gradient.
        labels: ``[n]``, or ``[n, *L]`` for several label dimensions; floating or integer.
        weight: factor of the loss and of its gradient.
        strength: how far the blackbox ranker perturbs, above zero; a strength of 1 to 2 moves a
            sample by a few places. Other rankers bring their own settings.
        unique: what to do with samples of equal labels: "sample" lets one of each label take
            part, drawn at random as published, so that frequent labels do not outweigh rare
            ones; "first" takes the first of each label; "none" takes all.
        ranker: "blackbox", or any other ranker for the similarities, differentiated as it is; see
            :func:`rankgrad.rankers.as_ranker`.
        generator: of torch, on the device of ``features``; for "sample".
        mask: ``[n]``, True for the samples that may take part.
        reduction: over the rows that take part: "sum" as published, "mean", or "none" (``[n]``,
            zero for those that do not).

    Returns:
        The loss in the dtype of ``features``. A NaN in the features or labels that take part
        gives NaN.

    Raises:
        TypeError: ``features`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit.

    Cost: ``O(n^2 (d + log n))`` time and ``O(n^2)`` memory; no loop over rows. Labels are sorted
    once. Similarities are computed outside autocast. On the CPU, outside ``torch.compile``, ``n``
    is the number of samples that take part.

    Source: Gong, Mori, Tung: RankSim: ranking similarity regularization for deep imbalanced
    regression. ICML 2022.

    >>> labels = torch.tensor([1.0, 2.0, 4.0])
    >>> turned = torch.stack([labels.cos(), labels.sin()], dim=1)
    >>> rank_sim_loss(turned, labels), rank_sim_loss(turned, labels[[1, 0, 2]])
    (tensor(0.), tensor(0.0741))
    """
    check_choice("unique", unique, UNIQUE)
    check_reduction(reduction)
    weight = check_finite_number("weight", weight)
    strength = check_positive("strength", strength)
    check_floating("features", features)
    check_real("labels", labels)
    n = features.shape[0] if features.dim() else 0
    if features.dim() == 0 or labels.dim() == 0 or labels.shape[0] != n:
        raise ValueError(
            f"features and labels must have the shapes [n, *d] and [n] or [n, *L], got "
            f"{tuple(features.shape)} and {tuple(labels.shape)}"
        )
    check_same_device("labels", labels, "features", features)
    points = features.to(compute_dtype(features)).reshape(n, features.shape[1:].numel())
    targets = real(labels.detach()).reshape(n, labels.shape[1:].numel())
    if mask is not None:
        check_mask("mask", mask, "the first dimension of features", features.new_empty(n))
        mask = mask.expand(n)

    order, keep = _chosen(targets, mask, unique, generator)
    if isinstance(ranker, str) and ranker == "blackbox":
        count = None if keep is None else keep.sum()
        trained = torch.is_grad_enabled() and points.requires_grad
        each: Tensor = _ranksim(points, targets, order, count, strength, trained)[0]
    else:
        points, targets = points.index_select(0, order), targets[order]
        if keep is not None:  # what the others hold, NaN included, must reach nothing
            points = torch.where(keep[:, None], points, 0.0)
            targets = torch.where(keep[:, None], targets, 0.0)
        each = _by_ranker(points, targets, keep, as_ranker(ranker))
    loss = weight * reduce(each, reduction, keep)
    if reduction == "none":
        loss = loss.new_zeros(n).index_copy(0, order, loss)
    return loss.to(result_dtype(features))


def _chosen(
    targets: Tensor, mask: Tensor | None, unique: str, generator: torch.Generator | None
) -> tuple[Tensor, Tensor | None]:
    """Return the samples in the order of their labels, and which of these take part.

    Those that do come first. Without the second value all do: on the CPU, in eager mode, the
    others are left out of the order; elsewhere that would wait for the device or break the graph.
    """
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        serve = kernels.implementation("ranksim_order", targets.device)
        start = _start(targets, unique == "sample", generator)
        return serve(targets, start, mask, unique != "none"), None
    order, opens = by_label(targets, unique == "sample", generator)
    if mask is not None:  # valid ones first; a masked one then opens no group of valid ones
        first = argsort(mask[order].float())
        order = order[first]
        opens = _opens(targets[order])
    if mask is None and unique == "none":
        return order, None
    keep = torch.ones_like(opens) if mask is None else mask[order]
    if unique != "none":
        keep = keep & opens
    first = argsort(keep.float())
    return order[first], keep[first]


def by_label(
    targets: Tensor, shuffle: bool, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Return the order of the rows of ``targets`` [n, L], and which open a group of equal ones.

    Equal rows come in random order, or as they stand.
    """
    order = _start(targets, shuffle, generator)
    for column in reversed(range(targets.shape[1])):
        order = order[argsort(targets[order, column], descending=False)]
    return order, _opens(targets[order])


def _start(targets: Tensor, shuffle: bool, generator: torch.Generator | None) -> Tensor:
    n = targets.shape[0]
    if shuffle:
        return torch.randperm(n, generator=generator, device=targets.device)
    return torch.arange(n, device=targets.device)


def _opens(ordered: Tensor) -> Tensor:
    changes = (ordered[1:] != ordered[:-1]).any(-1)
    return torch.cat([torch.ones_like(ordered[:1, :0], dtype=torch.bool).all(-1), changes])


def _by_ranker(points: Tensor, targets: Tensor, keep: Tensor | None, ranker: Ranker) -> Tensor:
    zero = (points == 0).all(-1, keepdim=True)
    units = F.normalize(torch.where(zero, 1.0, points), dim=-1)
    units = torch.where(zero, 0.0, units)
    with full_precision(units.device):
        similarity = units @ units.mT
    both = None if keep is None else keep & keep[:, None]
    count = max(units.shape[0], 1) if keep is None else keep.sum().clamp(min=1)
    distance = torch.cdist(targets, targets, p=1.0)
    wanted = rank(distance, descending=False, ties="average", mask=both)
    error = ranker(similarity, both) - wanted.to(similarity.dtype)
    return (error / count).square().sum(-1) / count


class RankSimLoss(nn.Module):
    """Neighbours rank alike by label and by feature; see :func:`rank_sim_loss`.

    Args:
        weight: factor of the loss and of its gradient.
        strength: how far the blackbox ranker perturbs.
        unique: "sample", "first" or "none".
        reduction: "sum", "mean" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.
        ranker: "blackbox", or any other ranker.
        generator: of torch, for "sample"; None = torch's global one.

    >>> loss = RankSimLoss(weight=0.1, strength=2.0)
    >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 2.0]], requires_grad=True)
    >>> loss(features, torch.tensor([30, 90, 60])).detach()
    tensor(0.0167)
    """

    ranker: Ranker | str

    def __init__(
        self,
        weight: float = 1.0,
        strength: float = 2.0,
        unique: str = "sample",
        reduction: str = "sum",
        group: Group = None,
        ranker: Ranker | str | Callable[..., Tensor] = "blackbox",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("unique", unique, UNIQUE)
        check_reduction(reduction)
        if isinstance(ranker, str) and ranker == "blackbox":
            self.ranker = ranker
        else:
            hold_ranker(self, ranker)
        self.weight = check_finite_number("weight", weight)
        self.strength = check_positive("strength", strength)
        self.unique = unique
        self.reduction = reduction
        self.group = group
        self.generator = generator

    def forward(
        self,
        features: Float[Tensor, "n *d"],
        labels: Shaped[Tensor, "n *label_dims"],
        mask: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of these features and labels."""
        return rank_sim_loss(
            features,
            labels,
            weight=self.weight,
            strength=self.strength,
            unique=self.unique,
            ranker=self.ranker,
            generator=self.generator,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "weight", "strength", "unique", "reduction", "ranker")
