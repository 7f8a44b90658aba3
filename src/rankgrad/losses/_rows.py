"""Predictions beside targets, row by row, with a mask."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from rankgrad.checks import check_beside, compute_dtype

__all__ = ["Rows", "paired", "real"]


@dataclass(frozen=True)
class Rows:
    """What :func:`paired` makes of predictions, targets and mask; rows lie on the last dimension.

    Attributes:
        predictions: in the dtype to compute in, zero where masked.
        targets: floating, exact, zero where masked.
        mask: in the shape of the predictions, or None.
        count: valid entries of each row, ``[*batch, 1]``, floating.
    """

    predictions: Tensor
    targets: Tensor
    mask: Tensor | None
    count: Tensor

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of the valid entries of each row, ``[*batch, 1]``."""
        return (x if self.mask is None else torch.where(self.mask, x, 0.0)).sum(-1, keepdim=True)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of the valid entries of each row, ``[*batch, 1]``; zero if none is."""
        return self.sum(x) / self.count.clamp(min=1)

    def deviation(self, x: Tensor) -> Tensor:
        """Return ``x`` less its row mean; zero where masked."""
        x = x - self.mean(x)
        x = x - self.mean(x)  # the first mean was rounded; equal entries shall give exact zeros
        return x if self.mask is None else torch.where(self.mask, x, 0.0)

    def at_least(self, count: int) -> Tensor:
        """Return which rows have that many valid entries, ``[*batch]``."""
        return self.count.squeeze(-1) >= count


def real(x: Tensor) -> Tensor:
    """Return ``x`` in a floating dtype that holds its values: labels may come as integers."""
    if x.is_floating_point():
        return x.to(compute_dtype(x))
    return x.double()


def paired(predictions: Tensor, targets: Tensor, mask: Tensor | None, dim: int = -1) -> Rows:
    """Check predictions, targets and mask, and lay their rows along the last dimension."""
    mask = check_beside("targets", targets, "predictions", predictions, mask)
    floating = (predictions, targets) if targets.is_floating_point() else (predictions,)
    x = predictions.to(compute_dtype(*floating)).movedim(dim, -1)
    if x.shape[-1] == 1 < x.numel() and not torch.compiler.is_compiling():
        warnings.warn(
            f"predictions of shape {tuple(predictions.shape)} are {x.numel()} rows of one entry "
            f"along dim={dim}, whose order says nothing; for one row of {x.numel()} choose "
            "another dim",
            stacklevel=4,  # who called the loss, which stands behind `gathered`
        )
    y = real(targets).movedim(dim, -1)
    if mask is None:
        return Rows(x, y, None, x.new_full((*x.shape[:-1], 1), x.shape[-1]))
    mask = mask.movedim(dim, -1)
    x, y = torch.where(mask, x, 0.0), torch.where(mask, y, 0.0)
    return Rows(x, y, mask, mask.sum(-1, keepdim=True).to(x.dtype))
