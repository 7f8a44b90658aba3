"""Sums with the kernel ``exp(-|x_i - x_j|)`` by two decaying running sums: linear time."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows

__all__ = ["softsort_sums"]

# Down the sorted row, the sum over what is above, as seen from x_i, shrinks by exp(-gap) from one
# element to the next and grows by what is passed: no exponent is ever positive, nothing cancels.
# Equal elements count whole in the even sum and not at all in the odd one.


@jit()
def _rows(x: Any, v: Any, even: Any, odd: Any, want_odd: Any, start: Any, stop: Any) -> None:
    channels, n = v.shape[1], v.shape[2]
    for task in range(start, stop):
        row, c = task // channels, task % channels
        for sign in (1, -1):  # 1: from the largest down, -1: from the smallest up
            tail = 0.0
            i = 0 if sign == 1 else n - 1
            left = n
            while left > 0:
                value = x[row, i]
                end, tied, size = i, 0.0, 0
                while size < left and (x[row, end] == value or size == 0):
                    tied += v[row, c, end]
                    end += sign
                    size += 1
                for _ in range(size):
                    if sign == 1:
                        even[row, c, i] = tail + tied
                        if want_odd:
                            odd[row, c, i] = -tail
                    else:
                        even[row, c, i] += tail
                        if want_odd:
                            odd[row, c, i] += tail
                    i += sign
                left -= size
                if left > 0:
                    tail = (tail + tied) * np.exp(-abs(value - x[row, i]))


def softsort_sums(x: Tensor, v: Tensor, want_odd: bool) -> tuple[Tensor, Tensor | None]:
    """Return ``sum_j K_ij v_cj`` and ``sum_j sign(x_i - x_j) K_ij v_cj``.

    ``K_ij = exp(-|x_i - x_j|)``.

    The rows of ``x`` [rows, n] are sorted, largest first; ``v`` is [rows, c, n].
    """
    values, weights = array(x), array(v)
    even = np.empty_like(weights)
    odd = np.empty_like(weights) if want_odd else np.empty((0, 0, 0), weights.dtype)
    rows, channels, n = weights.shape
    by_rows(_rows, (rows * channels, n), values, weights, even, odd, want_odd)
    return torch.from_numpy(even), torch.from_numpy(odd) if want_odd else None
