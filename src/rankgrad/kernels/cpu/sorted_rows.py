"""The valid scores of a row in falling order, and which of them are finite."""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.sorting import sort_row

__all__ = ["in_order", "put_back", "sort_valid", "take_valid"]


@jit()
def _finite(y: Any, m: Any) -> Any:
    if m > 0 and y[0] != y[0]:  # NaN sorts first
        return m, -1, -1
    low, high = 0, m
    while low < m and y[low] == np.inf:
        low += 1
    while high > low and y[high - 1] == -np.inf:
        high -= 1
    return m, low, high


@jit()
def sort_valid(x: Any, mask: Any, row: Any, order: Any, y: Any) -> Any:
    """Sort the valid scores of a row into ``y``, largest first.

    ``order`` says where they came from, and behind them ``~i`` for each ``i`` that is masked.
    Return how many are valid, and from where to where they are finite: both -1 if one is NaN.
    """
    n = x.shape[1]
    sort_row(x[row], order, True)
    if mask is None:
        for k in range(n):
            y[k] = x[row, order[k]]
        return _finite(y, n)
    m, masked = 0, np.empty(n, np.int64)
    for k in range(n):
        i = order[k]
        if mask[row, i]:
            order[m] = i
            y[m] = x[row, i]
            m += 1
        else:
            masked[k - m] = ~i
    for k in range(m, n):
        order[k] = masked[k - m]
    return _finite(y, m)


@jit()
def in_order(x: Any, row: Any, order: Any, y: Any) -> Any:
    """Write and return what :func:`sort_valid` did, from its ``order``."""
    m = 0
    while m < order.shape[0] and order[m] >= 0:
        y[m] = x[row, order[m]]
        m += 1
    return _finite(y, m)


@jit()
def take_valid(values: Any, order: Any, m: Any, out: Any) -> None:
    """Write what belongs to the ``m`` valid scores in their falling order."""
    for k in range(m):
        out[k] = values[order[k]]


@jit()
def put_back(values: Any, order: Any, low: Any, high: Any, out: Any) -> None:
    """Write what belongs to some of the sorted scores where these came from, 0 elsewhere."""
    out[:] = 0.0
    for k in range(low, high):
        out[order[k]] = values[k]
