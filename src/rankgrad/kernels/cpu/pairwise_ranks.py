"""Soft ranks of short rows, pair by pair: what a sort and its walk cost more than.

Rows are padded to whole blocks with scores that are behind all others: what the compiler leaves
over of a loop in vectors takes longer than all of a short row.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.functions import vector_atan, vector_erfc, vector_exp
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.steepness import deviation

__all__ = ["pairwise_ranks", "pairwise_ranks_vjp"]

_CODES = {"ramp": 0, "logistic": 1, "laplace": 2, "cauchy": 3, "normal": 4}
# Pairs worth a thread of their own, by what one takes.
_GRAIN = {"normal": 1 << 15, "cauchy": 1 << 16}
_QUICK = 1 << 17
_LOGISTIC, _BY_PRODUCTS = 1, 5
_BLOCK = 32
_BEHIND = -1.7e308
_INFINITE = 0.5e308  # stands for infinite scores: ties of their like, a whole step from the others


@jit()
def _valid(x: Any, mask: Any, row: Any, y: Any, at: Any) -> Any:
    """Write the valid scores and where they are; return how many, or -1 if one is NaN."""
    m, broken = 0, False
    for i in range(x.shape[1]):
        if mask is None or mask[row, i]:
            value = np.float64(x[row, i])
            broken |= value != value
            y[m] = min(max(value, -_INFINITE), _INFINITE)
            at[m] = i
            m += 1
    y[m:] = _BEHIND
    return m, broken


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _ahead(y: Any, here: Any, rate: Any, code: Any) -> Any:
    """Return the sum of ``H((y_j - here) rate)``."""
    total = 0.0
    if code == 0:
        for j in range(y.shape[0]):
            total += min(max(0.5 * ((y[j] - here) * rate) + 0.5, 0.0), 1.0)
    elif code == 1:
        for j in range(y.shape[0]):
            z = (y[j] - here) * rate
            e = vector_exp(-abs(z))
            total += (1.0 if z > 0 else e) / (1.0 + e)
    elif code == 2:
        for j in range(y.shape[0]):
            z = (y[j] - here) * rate
            tail = 0.5 * vector_exp(-abs(z))
            total += 1.0 - tail if z > 0 else tail
    elif code == _BY_PRODUCTS:
        for j in range(y.shape[0]):
            total += y[j] / (y[j] + here)
    elif code == 3:
        for j in range(y.shape[0]):
            total += 0.5 + vector_atan((y[j] - here) * rate) * (1.0 / math.pi)
    else:
        for j in range(y.shape[0]):
            total += 0.5 * vector_erfc((here - y[j]) * (rate * math.sqrt(0.5)))
    return total


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _pull(y: Any, g: Any, here: Any, own: Any, rate: Any, code: Any) -> Any:
    """Return the sum of ``H'((y_j - here) rate) (g_j - own)``."""
    total = 0.0
    if code == 0:
        for j in range(y.shape[0]):
            near = 0.5 if abs((y[j] - here) * rate) < 1.0 else 0.0
            total += near * (g[j] - own)
    elif code == 1:
        for j in range(y.shape[0]):
            e = vector_exp(-abs((y[j] - here) * rate))
            total += e / ((1.0 + e) * (1.0 + e)) * (g[j] - own)
    elif code == 2:
        for j in range(y.shape[0]):
            total += 0.5 * vector_exp(-abs((y[j] - here) * rate)) * (g[j] - own)
    elif code == _BY_PRODUCTS:
        for j in range(y.shape[0]):
            share = 1.0 / (y[j] + here)
            total += (y[j] * share) * (here * share) * (g[j] - own)
    elif code == 3:
        for j in range(y.shape[0]):
            z = (y[j] - here) * rate
            total += (g[j] - own) / (math.pi * (1.0 + z * z))
    else:
        flat = 1.0 / math.sqrt(2.0 * math.pi)
        for j in range(y.shape[0]):
            z = (y[j] - here) * rate
            total += flat * vector_exp(-0.5 * z * z) * (g[j] - own)
    return total


@jit()
def _exponentials(y: Any, m: Any, rate: Any, code: Any) -> Any:
    """Put ``e_j = exp(y_j rate)`` in place of the scores if the logistic function can have them.

    It then is ``e_j / (e_j + e_i)``: no exponential a pair. Return the code to go on with.
    """
    if code != _LOGISTIC or m == 0:
        return code
    low = high = y[0]
    for k in range(m):
        low, high = min(low, y[k]), max(high, y[k])
    if not (high - low) * rate < 600.0:
        return code
    middle = low + 0.5 * (high - low)
    for k in range(m):
        y[k] = vector_exp((y[k] - middle) * rate)
    y[m:] = 0.0
    return _BY_PRODUCTS


@jit()
def _rate(x: Any, mask: Any, row: Any, steepness: Any, scale: Any, gap: Any) -> Any:
    """Return what differences of the scores of a row are multiplied by."""
    spread = deviation(x, mask, row, gap)[1] if steepness > 0.0 else 0.0
    return 1.0 / (scale * (spread / steepness)) if spread > 0.0 else 1.0 / scale


@jit()
def _padded(m: Any) -> Any:
    return (m + _BLOCK - 1) // _BLOCK * _BLOCK


@jit()
def _ranks_rows(
    x: Any, mask: Any, steepness: Any, scale: Any, code: Any, out: Any, start: Any, stop: Any
) -> None:
    y, at = np.empty(_padded(x.shape[1])), np.empty(x.shape[1], np.int64)
    for row in range(start, stop):
        rate = _rate(x, mask, row, steepness, scale, y)
        m, broken = _valid(x, mask, row, y, at)
        near, way = y[: _padded(m)], _exponentials(y, m, rate, code)
        if mask is not None:
            out[row] = 0.0
        for k in range(m):
            out[row, at[k]] = np.nan if broken else 0.5 + _ahead(near, y[k], rate, way)


def pairwise_ranks(
    x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.pairwise_ranks`."""
    values = array(x)
    rows, n = values.shape
    out = np.empty_like(values)
    by_rows(
        _ranks_rows, (rows, n * n), values, array(mask), steepness, scale, _CODES[kind], out,
        grain=_GRAIN.get(kind, _QUICK),
    )  # fmt: skip
    return torch.from_numpy(out)


@jit()
def _vjp_rows(
    grad: Any, x: Any, mask: Any, steepness: Any, scale: Any, code: Any, out: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    y, at = np.empty(_padded(x.shape[1])), np.empty(x.shape[1], np.int64)
    g = np.zeros(_padded(x.shape[1]))
    for row in range(start, stop):
        rate = _rate(x, mask, row, steepness, scale, y)
        m, broken = _valid(x, mask, row, y, at)
        for k in range(m):
            g[k] = grad[row, at[k]]
        near, its_g = y[: _padded(m)], g[: _padded(m)]
        way = _exponentials(y, m, rate, code)
        if mask is not None:
            out[row] = 0.0
        for k in range(m):
            out[row, at[k]] = 0.0 if broken else rate * _pull(near, its_g, y[k], g[k], rate, way)


def pairwise_ranks_vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.pairwise_ranks`."""
    values = array(x)
    rows, n = values.shape
    out = np.empty_like(values)
    by_rows(
        _vjp_rows, (rows, n * n), array(grad), values, array(mask), steepness, scale,
        _CODES[kind], out, grain=_GRAIN.get(kind, _QUICK),
    )  # fmt: skip
    return torch.from_numpy(out)
