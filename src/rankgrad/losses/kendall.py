"""Kendall's rank correlation as a loss: pairs in the right order, softly counted."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_reduction, result_dtype
from rankgrad.comparisons import Comparison, Logistic
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._rows import Rows, paired
from rankgrad.losses._world import Group, gathered
from rankgrad.metrics._pairs import tied_pairs
from rankgrad.pairwise import pairwise_sum
from rankgrad.ranks import rank
from rankgrad.sorting import argsort

__all__ = ["KendallLoss", "kendall_loss"]

_BLOCK = 32  # pairs within so many neighbours are compared directly
_SHORT = 128  # and within all of a row as short as that


@gathered("predictions", "targets", along="dim")
def kendall_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    comparison: Comparison = Logistic(0.1),
    standardize: bool = True,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return one minus a soft Kendall's tau-b of each row.

    .. math::
        1 - \frac{\sum_{y_i < y_j} \big(2 H(\hat y_j - \hat y_i) - 1\big)}
                 {\sqrt{P_{\hat y} \, P_y}}

    with ``H`` the comparison and ``P`` the number of pairs that are not tied in the predictions
    and in the targets. With :class:`~rankgrad.Step` this is one minus Kendall's tau-b itself.
    ``P`` is a constant to the gradient. Where all predictions of a row are equal, tau is 0, and
    its gradient is as if none were tied, so that training can start there. Where all targets are
    equal, tau is 0 and has no gradient.

    Args:
        predictions: any shape with at least one dimension; ``dim`` holds one row.
        targets: the same shape; floating, integer or boolean.
        comparison: how decisively a difference counts.
        standardize: divide the predictions of each row by their standard deviation (a constant to
            the gradient) before comparing, so that the loss does not depend on their scale.
        mask: boolean, broadcastable to ``predictions``, True = valid; the same as leaving the
            others out.
        dim: the dimension to compare along; 0 for a batch of ``[n, 1]`` outputs.
        reduction: over the rows: "mean", "sum" or "none". A row with fewer than two valid entries
            has loss 0 and is left out of the mean.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``predictions``. A row with a NaN is NaN.

    Raises:
        TypeError: ``predictions`` is not floating point, or ``mask`` not boolean.
        ValueError: shapes, devices or the reduction do not fit.

    Cost: ``O(n)`` memory; ``O(n log^2 n)`` time with a step, ramp or Laplace comparison, else
    ``O(n^2)``.

    Source: Kendall: The treatment of ties in ranking problems. Biometrika, 1945.

    >>> from rankgrad import Step
    >>> targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> predictions = torch.tensor([0.2, 0.1, 0.7, 0.9])
    >>> kendall_loss(predictions, targets, comparison=Step())
    tensor(0.3333)
    >>> kendall_loss(predictions, targets)
    tensor(0.3182)
    """
    check_reduction(reduction)
    if not isinstance(comparison, Comparison):
        raise TypeError(f"comparison must be a Comparison, got {comparison!r}")
    rows = paired(predictions, targets, mask, dim)
    if rows.predictions.shape[-1] == 0:
        return reduce(rows.predictions.sum(-1), reduction, rows.at_least(2)).to(
            result_dtype(predictions)
        )
    scores = _standardized(rows) if standardize else rows.predictions
    groups = [
        rank(x, descending=False, ties="dense", mask=rows.mask)
        for x in (rows.predictions, rows.targets)
    ]
    valid = torch.ones_like(scores, dtype=torch.bool) if rows.mask is None else rows.mask
    count = rows.count.squeeze(-1).double()
    pairs = 0.5 * count * (count - 1)
    untied = [pairs - tied_pairs(group.nan_to_num().long(), valid) for group in groups]
    spread = torch.where(untied[0] == 0, pairs, untied[0]) * untied[1]
    scale = torch.where(spread == 0, 1.0, spread).sqrt().to(scores.dtype)
    tau = _agreement(scores, groups[1], comparison) / scale
    broken = (rows.predictions.isnan() | rows.targets.isnan()).any(-1)
    loss = torch.where(broken, torch.nan, 1 - tau)
    return reduce(loss, reduction, rows.at_least(2)).to(result_dtype(predictions))


def _standardized(rows: Rows) -> Tensor:
    """Predictions over the standard deviation of their row; as they are where that is zero."""
    x = rows.predictions.detach()
    size = x.abs().amax(-1, keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    variance = rows.mean(rows.deviation(x / size).square())
    return rows.predictions / torch.where(variance > 0, variance.sqrt() * size, 1.0)


def _agreement(scores: Tensor, group: Tensor, comparison: Comparison) -> Tensor:
    """Return ``sum over y_i < y_j of 2 H(s_j - s_i) - 1`` of each row, ``[*batch]``.

    ``group`` numbers the distinct targets from 1, ascending; 0 is masked. In its order these are
    all pairs ``i < j`` but those within a group. Pairs of a short row, or within blocks of 32 of
    a longer one, are compared one by one; neighbouring blocks of 32, 64, 128, ... are compared by
    pairwise sums: of all pairs, less those within a group.
    """
    order = argsort(group, descending=False)
    group = group.gather(-1, order).nan_to_num().long()
    x = scores.gather(-1, order)
    weight = (group > 0).to(x.dtype)

    first = size = x.shape[-1] if x.shape[-1] <= _SHORT else _BLOCK
    while size < x.shape[-1]:
        size *= 2
    short = (0, size - x.shape[-1])
    x, weight = F.pad(x, short), F.pad(weight, short)
    group = F.pad(group, short, value=group.shape[-1] + 1)

    def blocks(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
        return x.unflatten(-1, shape), group.unflatten(-1, shape), weight.unflatten(-1, shape)

    total = _within_blocks(*blocks(-1, first), comparison)
    block = first
    while block < size:
        total = total + _across_blocks(*blocks(-1, 2, block), comparison)
        block *= 2
    return total


def _within_blocks(x: Tensor, group: Tensor, weight: Tensor, comparison: Comparison) -> Tensor:
    # In sorted order a later place with another group has a larger one.
    ordered = group.unsqueeze(-1) < group.unsqueeze(-2)
    both = weight.unsqueeze(-1) * weight.unsqueeze(-2) * ordered
    gap = x.unsqueeze(-2) - x.unsqueeze(-1)
    at = gap.detach()
    # Not autograd's derivative, which at a tie is not that of every comparison.
    ahead = comparison.value(at) + comparison.derivative(at) * (gap - at)
    return (both * (2 * ahead - 1)).sum((-1, -2, -3))


def _across_blocks(x: Tensor, group: Tensor, weight: Tensor, comparison: Comparison) -> Tensor:
    (left, right), (w_left, w_right) = x.unbind(-2), weight.unbind(-2)
    first, second = group.unbind(-2)
    # In sorted order only the group at the border can have members on both sides.
    border = first[..., -1:]
    w_border = w_right * (second == border)

    def ahead(w: Tensor) -> Tensor:
        return 2 * pairwise_sum(left, right, w, comparison=comparison) - w.sum(-1, keepdim=True)

    return (w_left * (ahead(w_right) - (first == border) * ahead(w_border))).sum((-1, -2))


class KendallLoss(nn.Module):
    """One minus a soft Kendall's tau-b; see :func:`kendall_loss`.

    Args:
        comparison: how decisively a difference counts.
        standardize: divide the predictions of each row by their standard deviation first.
        dim: the dimension to compare along.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> KendallLoss()(torch.tensor([0.2, 0.1, 0.7, 0.9]), torch.tensor([1, 2, 3, 3]))
    tensor(0.4348)
    """

    def __init__(
        self,
        comparison: Comparison = Logistic(0.1),
        standardize: bool = True,
        dim: int = -1,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if not isinstance(comparison, Comparison):
            raise TypeError(f"comparison must be a Comparison, got {comparison!r}")
        self.comparison = comparison
        self.standardize = standardize
        self.dim = dim
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        predictions: Float[Tensor, "*shape"],
        targets: Shaped[Tensor, "*shape"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of these predictions."""
        return kendall_loss(
            predictions,
            targets,
            comparison=self.comparison,
            standardize=self.standardize,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "comparison", "standardize", "dim", "reduction")
