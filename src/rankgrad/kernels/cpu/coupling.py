"""Sums over the matrix ``exp(a_i x_j + f_i + g_j)`` where it is not negligible.

``x`` is sorted and ``a`` too, ``f`` and ``g`` are (nearly) concave in them, as the potentials of
one-dimensional transport are. A row of the matrix then falls off on both sides of one peak, faster
and faster. Only what can reach the last digit of the sum is evaluated, so that time follows the
width of the band: about ``n sqrt(n)`` where the dense matrix has ``n n`` elements.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.functions import vector_exp
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.peaks import climb

__all__ = ["coupling_apply", "coupling_logsumexp"]

_GRAIN = 64  # sums a thread takes at least
_DIGITS = 40.0  # exp(-40) is below the last digit of a float64


@jit(forceinline=True)
def _band(a: Any, x: Any, g: Any, peak: Any, low: Any, high: Any, cut: Any) -> Any:
    """Return the peak of ``a x_j + g_j``, its height, and the band around it.

    Found by small steps from those of the row before: for sorted ``a`` all three only move on.
    """
    n = x.shape[0]
    peak, top = climb(a, x, g, n, peak)
    least = top - cut
    low, high = min(low, peak), max(high, peak + 1)
    while low < peak and a * x[low] + g[low] < least:
        low += 1
    while low > 0 and a * x[low - 1] + g[low - 1] >= least:
        low -= 1
    while high > peak + 1 and a * x[high - 1] + g[high - 1] < least:
        high -= 1
    while high < n and a * x[high] + g[high] >= least:
        high += 1
    return peak, top, low, high


# The loops go over slices: an index that might be negative costs the compiler its vector loads.


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _sum_exp(a: Any, x: Any, g: Any, top: Any) -> Any:
    total = 0.0
    for j in range(x.shape[0]):
        total += vector_exp(a * x[j] + (g[j] - top))
    return total


@jit(forceinline=True)
def _fill(weights: Any, a: Any, x: Any, g: Any, top: Any) -> None:
    for j in range(x.shape[0]):
        weights[j] = vector_exp(a * x[j] + (g[j] - top))


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _dot(weights: Any, v: Any) -> Any:
    total = 0.0
    for j in range(v.shape[0]):
        total += weights[j] * v[j]
    return total


@jit()
def _logsumexp(a: Any, x: Any, g: Any, out: Any, cut: Any, start: Any, stop: Any) -> None:
    n_a = a.shape[1]
    for row in range(start // n_a, (stop - 1) // n_a + 1):
        points, offsets, peak, low, high = x[row], g[row], 0, 0, 1
        for i in range(max(start - row * n_a, 0), min(stop - row * n_a, n_a)):
            slope = a[row, i]
            peak, top, low, high = _band(slope, points, offsets, peak, low, high, cut)
            if top == -np.inf:
                out[row, i] = -np.inf
            else:
                total = _sum_exp(slope, points[low:high], offsets[low:high], top)
                out[row, i] = top + np.log(total)


@jit()
def _apply(
    a: Any, x: Any, f: Any, g: Any, v: Any, out: Any, cut: Any, start: Any, stop: Any
) -> None:
    n_a = a.shape[1]
    weights = np.empty(x.shape[1])
    for row in range(start // n_a, (stop - 1) // n_a + 1):
        points, offsets, peak, low, high = x[row], g[row], 0, 0, 1
        for i in range(max(start - row * n_a, 0), min(stop - row * n_a, n_a)):
            slope = a[row, i]
            peak, top, low, high = _band(slope, points, offsets, peak, low, high, cut)
            if top == -np.inf or f[row, i] == -np.inf:
                out[row, :, i] = 0.0
                continue
            _fill(weights, slope, points[low:high], offsets[low:high], top)
            scale = np.exp(top + f[row, i])
            for c in range(v.shape[1]):
                out[row, c, i] = scale * _dot(weights, v[row, c, low:high])


def _cut(n: int) -> float:
    return _DIGITS + math.log(max(n, 1))


def coupling_logsumexp(a: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """Return ``log sum_j exp(a_i x_j + g_j)`` by row; ``a`` [rows, n_a], ``x``, ``g`` [rows, n_x].

    An element with ``g_j = -inf`` is not there.
    """
    arrays = [array(t) for t in (a, x, g)]
    out = np.empty_like(arrays[0])
    cut = _cut(x.shape[1])
    run([partial(_logsumexp, *arrays, out, cut, b, e) for b, e in pieces(out.size, _GRAIN)])
    return torch.from_numpy(out)


def coupling_apply(a: Tensor, x: Tensor, f: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """Return ``sum_j exp(a_i x_j + f_i + g_j) v_cj``, ``v`` [rows, c, n_x] -> [rows, c, n_a].

    Rows with ``f_i = -inf`` are zero, columns with ``g_j = -inf`` are not there.
    """
    arrays = [array(t) for t in (a, x, f, g, v)]
    out = np.empty((v.shape[0], v.shape[1], a.shape[1]))
    cut = _cut(x.shape[1])
    run([partial(_apply, *arrays, out, cut, b, e) for b, e in pieces(a.numel(), _GRAIN)])
    return torch.from_numpy(out)
