"""What the metrics share: checked inputs, one value a row, and the mean over the rows."""

import torch
from torch import Tensor

from rankgrad.checks import (
    check_choice,
    check_floating,
    check_mask,
    check_same_device,
    check_same_shape,
)

__all__ = ["checked", "reduce_rows", "wide"]


def wide(x: Tensor) -> Tensor:
    """Return ``x`` in float64, or in float32 on a device that has no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def checked(
    scores: Tensor, targets: Tensor, mask: Tensor | None, name: str = "relevance"
) -> Tensor | None:
    """Check the three arguments of a metric; return the mask in the shape of the scores."""
    check_floating("scores", scores)
    if scores.dim() == 0:
        raise ValueError("scores must have at least one dimension, got a scalar")
    if not isinstance(targets, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(targets).__name__}")
    if targets.is_complex():
        raise TypeError(f"{name} must be real, got dtype {targets.dtype}")
    check_same_shape(name, targets, "scores", scores)
    check_same_device(name, targets, "scores", scores)
    if mask is None:
        return None
    check_mask("mask", mask, "scores", scores)
    return mask.broadcast_to(scores.shape)


def reduce_rows(
    values: Tensor, defined: Tensor, reduction: str, dtype: torch.dtype, undefined: float
) -> Tensor:
    """Reduce one value a row; a row that is not defined has the value ``undefined``.

    "mean" and "sum" leave such rows out; the mean of no row at all is ``undefined``.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if reduction == "none":
        return torch.where(defined, values, undefined).to(dtype)
    total = torch.where(defined, values, 0.0).sum()
    if reduction == "mean":
        count = defined.sum()
        total = torch.where(count > 0, total / count.clamp(min=1), undefined)
    return total.to(dtype)
