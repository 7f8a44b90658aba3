"""What the metrics share: their dtype, one value a row, and the mean over the rows."""

import torch
from torch import Tensor

from rankgrad.checks import check_reduction

__all__ = ["reduce_rows", "wide"]


def wide(x: Tensor) -> Tensor:
    """Return ``x`` in float64, or in float32 on a device that has no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def reduce_rows(
    values: Tensor, defined: Tensor, reduction: str, dtype: torch.dtype, undefined: float
) -> Tensor:
    """Reduce one value a row; a row that is not defined has the value ``undefined``.

    "mean" and "sum" leave such rows out; the mean of no row at all is ``undefined``.
    """
    check_reduction(reduction)
    if reduction == "none":
        return torch.where(defined, values, undefined).to(dtype)
    total = torch.where(defined, values, 0.0).sum()
    if reduction == "mean":
        count = defined.sum()
        total = torch.where(count > 0, total / count.clamp(min=1), undefined)
    return total.to(dtype)
