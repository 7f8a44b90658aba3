"""The ascending argsort of code that does not ask for a stable one."""

import torch
from torch import Tensor

from rankgrad.sorting import argsort

__all__ = ["torch_argsort"]


def torch_argsort(x: Tensor, dim: int = -1) -> Tensor:
    """Return ``torch.argsort(x, dim)``, in a fraction of its time where no two entries are equal.

    Which of several equal entries comes first is the affair of torch and of the machine. The
    original's ranks, and with them its numbers, depend on it.
    """
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        order = argsort(x, dim, descending=False)
        if not (x.gather(dim, order).diff(dim=dim) == 0).any():
            return order
    return torch.argsort(x, dim)
