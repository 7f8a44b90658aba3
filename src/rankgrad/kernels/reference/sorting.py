"""Stable argsort by PyTorch."""

import torch
from torch import Tensor

__all__ = ["argsort"]


def argsort(x: Tensor, descending: bool) -> Tensor:
    """Return the stable argsort (int64) of each row of ``x`` [rows, n]; NaN counts as largest."""
    return torch.sort(x, dim=-1, descending=descending, stable=True).indices
