"""Stable argsort by PyTorch."""

import torch
from torch import Tensor

__all__ = ["argsort", "argsort_valid"]


def argsort(x: Tensor, descending: bool) -> Tensor:
    """Return the stable argsort (int64) of each row of ``x`` [rows, n]; NaN counts as largest."""
    return torch.sort(x, dim=-1, descending=descending, stable=True).indices


def argsort_valid(x: Tensor, mask: Tensor | None, descending: bool) -> Tensor:
    """Return the stable argsort of the valid elements of each row, and behind it the masked."""
    order = argsort(x, descending)
    if mask is None:
        return order
    return order.gather(-1, argsort((~mask).gather(-1, order).to(x.dtype), False))
