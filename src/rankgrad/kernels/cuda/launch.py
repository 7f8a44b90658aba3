"""What every launch shares."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["ceil_div", "launch", "scalar", "search_steps"]


def ceil_div(n: int, size: int) -> int:
    """Return ``n / size``, rounded up."""
    return -(-n // size)


def search_steps(n: int) -> int:
    """Return how often a binary search halves a range of ``n`` until it is empty."""
    return n.bit_length()


def scalar(value: float, like: Tensor) -> Tensor:
    """Return a float64 number as a tensor: as a plain argument a kernel gets it in float32.

    Filled on the device: unlike ``torch.tensor(value, device=...)`` it makes nobody wait.
    """
    return torch.full((1,), value, dtype=torch.float64, device=like.device)


def launch(kernel: Any, programs: int, first: Tensor, *rest: Any, **constants: Any) -> None:
    """Run ``programs`` copies of a kernel on the device of its first argument.

    Triton launches on the current device, which need not be the one that holds the tensors. Whether
    a product and a sum may be rounded once is said here because Triton's default changes between
    versions; with ``enable_fp_fusion=False`` they are rounded apart, except in ``tl.fma``.
    """
    if programs == 0:
        return
    with torch.cuda.device_of(first):
        kernel[(programs,)](first, *rest, **{"enable_fp_fusion": True} | constants)
