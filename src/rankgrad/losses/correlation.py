"""Pearson's correlation and Lin's concordance as losses."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_reduction, result_dtype
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._rows import Rows, paired
from rankgrad.losses._world import Group, gathered

__all__ = [
    "ConcordanceLoss",
    "CorrelationLoss",
    "concordance_loss",
    "correlation_loss",
    "pearson",
]

_ROUNDING = 4  # entries that differ by fewer units in the last place count as equal


def pearson(x: Tensor, y: Tensor, rows: Rows) -> Tensor:
    """Return the correlation of each row, ``[*batch]``; 0, without gradient, where a side is flat.

    A side is flat if all its entries are equal up to rounding. A row with a NaN is NaN.
    """
    a, flat_a = _direction(x, rows)
    b, flat_b = _direction(y, rows)
    return torch.where((flat_a | flat_b).squeeze(-1), 0.0, (a * b).sum(-1))


def _direction(x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the deviations of each row scaled to length 1, and which rows are flat."""
    away = rows.deviation(x)
    if x.shape[-1] == 0:
        return away, torch.ones_like(rows.count, dtype=torch.bool)
    spread = away.detach().abs().amax(-1, keepdim=True)
    size = x.detach().abs().amax(-1, keepdim=True)
    flat = spread <= _ROUNDING * torch.finfo(x.dtype).eps * size
    # Magnitude one before squaring, so that nothing leaves the range of the dtype.
    away = away / torch.where(flat, 1.0, spread)
    length = away.square().sum(-1, keepdim=True)
    return away / torch.where(flat, 1.0, length).sqrt(), flat


@gathered("predictions", "targets", along="dim")
def correlation_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return one minus Pearson's correlation of each row.

    .. math:: 1 - \frac{\sum_i (\hat y_i - \bar{\hat y})(y_i - \bar y)}
                       {\sqrt{\sum_i (\hat y_i - \bar{\hat y})^2 \; \sum_i (y_i - \bar y)^2}}

    Where the predictions or the targets of a row are all equal (up to rounding) the correlation
    is taken as 0: the loss is 1 and has no gradient.

    Args:
        predictions: any shape with at least one dimension; ``dim`` holds one row.
        targets: the same shape; floating, integer or boolean.
        mask: boolean, broadcastable to ``predictions``, True = valid; the same as leaving the
            others out.
        dim: the dimension to correlate along; 0 for a batch of ``[n, 1]`` outputs.
        reduction: over the rows: "mean", "sum" or "none". A row with fewer than two valid entries
            has loss 0 and is left out of the mean.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``predictions``. A row with a NaN is NaN.

    Raises:
        TypeError: ``predictions`` is not floating point, or ``mask`` not boolean.
        ValueError: shapes, devices or the reduction do not fit.

    Cost: ``O(n)``.

    >>> predictions = torch.tensor([1.0, 2.0, 3.0])
    >>> correlation_loss(predictions, 10 - 2 * predictions)
    tensor(2.)
    """
    check_reduction(reduction)
    rows = paired(predictions, targets, mask, dim)
    valid = rows.at_least(2)
    # Rows that do not count are flat: no gradient passes.
    loss = reduce(1 - pearson(rows.predictions, rows.targets, rows), reduction, valid)
    return loss.to(result_dtype(predictions))


@gathered("predictions", "targets", along="dim")
def concordance_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return one minus Lin's concordance correlation coefficient of each row.

    .. math::
        1 - \frac{2 \operatorname{cov}(\hat y, y)}
                 {\operatorname{var}(\hat y) + \operatorname{var}(y) + (\bar{\hat y} - \bar y)^2}

    with the moments that divide by ``n``. Unlike a correlation it is only 0 where the predictions
    equal the targets, not where they are a linear function of them. Where both sides of a row are
    one and the same constant (up to rounding) the loss is 0 and has no gradient.

    Arguments, masks, reductions and errors as in :func:`correlation_loss`.

    Cost: ``O(n)``.

    Source: Lin: A concordance correlation coefficient to evaluate reproducibility. Biometrics,
    1989.

    >>> targets = torch.tensor([1.0, 2.0, 3.0])
    >>> concordance_loss(targets, targets), concordance_loss(targets + 1, targets)
    (tensor(0.), tensor(0.4286))
    """
    check_reduction(reduction)
    rows = paired(predictions, targets, mask, dim)
    x, y = rows.predictions, rows.targets
    if x.shape[-1] == 0:
        agreement = x.sum(-1)
    else:
        size = torch.maximum(x.detach().abs(), y.abs()).amax(-1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        x, y = x / size, y / size
        shift = (rows.mean(x) - rows.mean(y)).squeeze(-1)
        a, b = rows.deviation(x), rows.deviation(y)
        n = rows.count.squeeze(-1).clamp(min=1)
        apart = (a.square() + b.square()).sum(-1) / n + shift.square()
        same = apart <= (_ROUNDING * torch.finfo(x.dtype).eps) ** 2
        agreement = torch.where(same, 1.0, 2 * (a * b).sum(-1) / n / torch.where(same, 1.0, apart))
    valid = rows.at_least(2)
    return reduce(1 - agreement, reduction, valid).to(result_dtype(predictions))


class _PerRow(nn.Module):
    """Settings that both losses have."""

    def __init__(self, dim: int = -1, reduction: str = "mean", group: Group = None) -> None:
        super().__init__()
        check_reduction(reduction)
        self.dim = dim
        self.reduction = reduction
        self.group = group

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "dim", "reduction")


class CorrelationLoss(_PerRow):
    """One minus Pearson's correlation; see :func:`correlation_loss`.

    Args:
        dim: the dimension to correlate along.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> CorrelationLoss()(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2, 3]))
    tensor(0.0180)
    """

    def forward(
        self,
        predictions: Float[Tensor, "*shape"],
        targets: Shaped[Tensor, "*shape"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of these predictions."""
        return correlation_loss(
            predictions,
            targets,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )


class ConcordanceLoss(_PerRow):
    """One minus Lin's concordance correlation coefficient; see :func:`concordance_loss`.

    Args:
        dim: the dimension to compare along.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> ConcordanceLoss()(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2, 3]))
    tensor(0.1429)
    """

    def forward(
        self,
        predictions: Float[Tensor, "*shape"],
        targets: Shaped[Tensor, "*shape"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of these predictions."""
        return concordance_loss(
            predictions,
            targets,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )
