"""The whole matrices of SoftSort and NeuralSort, written once and read once.

Their columns lie in the order in which the scores came; the loops that read them go along these.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.functions import vector_exp
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.neuralsort import band, first_block, potentials, to_scores, weights
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.softsort import row_sums
from rankgrad.kernels.cpu.sorted_rows import in_order, put_back, sort_valid

__all__ = ["unimodal_matrix", "unimodal_matrix_vjp"]

_GRAIN = 65536  # elements of a matrix worth a thread of their own
# Logarithms of what is 0 in float32 and, about, in float64.
_NOTHING = {np.dtype(np.float32): 104.0, np.dtype(np.float64): 700.0}


@jit()
def _softsort_by_products(y: Any, temperature: Any, order: Any, out: Any) -> None:
    """Write a matrix from ``exp(y_j)`` and ``exp(-y_j)``, for scores that do not spread far."""
    n = y.shape[0]
    decay, mass = np.empty(n), np.empty(n)
    row_sums(y, temperature, decay, mass)
    up, down = np.zeros(out.shape[1]), np.zeros(out.shape[1])  # as the columns lie
    middle = y[n - 1] + 0.5 * (y[0] - y[n - 1])
    for k in range(n):
        power = (y[k] - middle) / temperature
        up[order[k]], down[order[k]] = vector_exp(power), vector_exp(-power)
    for i in range(n):
        to_up, to_down = down[order[i]] / mass[i], up[order[i]] / mass[i]
        row = out[i]
        for j in range(row.shape[0]):
            row[j] = min(up[j] * to_up, down[j] * to_down)


@jit()
def _softsort(y: Any, temperature: Any, nothing: Any, order: Any, out: Any) -> None:
    """Write a matrix: one exponential a gap, and products of them."""
    n = y.shape[0]
    if (y[0] - y[n - 1]) / temperature < 600.0:
        _softsort_by_products(y, temperature, order, out)
        return
    least = np.exp(-nothing)
    shrink, kernel = np.empty(n), np.empty(n)
    for k in range(n - 1):
        shrink[k] = vector_exp((y[k + 1] - y[k]) / temperature)
    for i in range(n):
        kernel[i] = 1.0
        above = below = total = 1.0
        first, last = i, i + 1
        while first > 0:
            above *= shrink[first - 1]
            if above < least:
                break
            first -= 1
            kernel[first] = above
            total += above
        while last < n:
            below *= shrink[last - 1]
            if below < least:
                break
            kernel[last] = below
            total += below
            last += 1
        scale = 1.0 / total
        for k in range(first, last):
            out[i, order[k]] = kernel[k] * scale


@jit()
def _neuralsort(y: Any, temperature: Any, nothing: Any, order: Any, out: Any) -> None:
    n = y.shape[0]
    z, g = potentials(y, temperature)
    w = np.empty(z.shape[0])
    peak, low, high = first_block(0)
    for i in range(n):
        slope = n - 1.0 - 2.0 * i
        peak, top, low, high = band(slope, z, g, n, peak, low, high, nothing)
        scale = 1.0 / weights(z[low:high], g[low:high], slope, top, w[low:high])
        for k in range(low, min(high, n)):
            out[i, order[k]] = w[k] * scale


@jit()
def _even(order: Any, out: Any) -> None:
    """Write a block of equal shares."""
    for i in range(order.shape[0]):
        for k in order:
            out[i, k] = 1.0 / order.shape[0]


@jit()
def _matrix_rows(
    x: Any, mask: Any, neural: Any, temperature: Any, nothing: Any, out: Any, order: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    y = np.empty(x.shape[1])
    for row in range(start, stop):
        at, matrix = order[row], out[row]
        m, low, high = sort_valid(x, mask, row, at, y)
        if low < 0:
            matrix[:] = np.nan
            continue
        matrix[:] = 0.0
        _even(at[:low], matrix[:low])
        _even(at[high:m], matrix[high:m])
        if low < high:
            inner, its_at, rest = y[low:high], at[low:high], matrix[low:high]
            if neural:
                _neuralsort(inner, temperature, nothing, its_at, rest)
            else:
                _softsort(inner, temperature, nothing, its_at, rest)


def unimodal_matrix(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    scores = array(x)
    rows, n = scores.shape
    out, order = np.empty((rows, n, n), scores.dtype), np.empty((rows, n), np.int64)
    by_rows(
        _matrix_rows, (rows, n * n), scores, array(mask), kind == "neuralsort", temperature,
        _NOTHING[scores.dtype], out, order, grain=_GRAIN,
    )  # fmt: skip
    return torch.from_numpy(out), torch.from_numpy(order)


@jit(fastmath={"reassoc", "contract"})
def _mean(grad: Any, share: Any) -> Any:
    mean = 0.0
    for j in range(grad.shape[0]):
        mean += np.float64(grad[j]) * np.float64(share[j])
    return mean


@jit(fastmath={"reassoc", "contract"})
def _softsort_row(grad: Any, share: Any, x: Any, here: Any, out: Any) -> Any:
    """Add what a row of the matrix pulls at the scores; return its pull at its own place."""
    mean = _mean(grad, share)
    own = 0.0
    for j in range(x.shape[0]):
        side = np.float64(x[j] < here) - np.float64(x[j] > here)
        pull = side * np.float64(share[j]) * (np.float64(grad[j]) - mean)
        out[j] += pull
        own += pull
    return own


@jit(fastmath={"reassoc", "contract"})
def _neuralsort_row(grad: Any, share: Any, slope: Any, to_g: Any, to_z: Any) -> None:
    mean = _mean(grad, share)
    for j in range(grad.shape[0]):
        pull = np.float64(share[j]) * (np.float64(grad[j]) - mean)
        to_g[j] += pull
        to_z[j] += slope * pull


@jit()
def _matrix_vjp_rows(
    grad: Any, matrix: Any, x: Any, order: Any, neural: Any, temperature: Any, out: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    y, one, other, to_y = np.empty(n), np.zeros(n), np.zeros(n), np.empty(n)
    to_g, to_z = np.empty(n), np.empty(n)
    for row in range(start, stop):
        at = order[row]
        _, low, high = in_order(x, row, at, y)
        one[:] = 0.0
        other[:] = 0.0
        if neural:
            for i in range(low, high):
                slope = low + high - 1.0 - 2.0 * i
                _neuralsort_row(grad[row, i], matrix[row, i], slope, one, other)
            for k in range(low, high):
                to_g[k], to_z[k] = one[at[k]], other[at[k]]
            if low < high:
                to_scores(y[low:high], to_g[low:high], to_z[low:high], temperature, to_y[low:high])
        else:
            for i in range(low, high):
                to_y[i] = -_softsort_row(grad[row, i], matrix[row, i], x[row], y[i], one)
            for k in range(low, high):
                to_y[k] = (to_y[k] + one[at[k]]) / temperature
        put_back(to_y, at, low, high, out[row])


def unimodal_matrix_vjp(
    grad: Tensor, matrix: Tensor, x: Tensor, order: Tensor, kind: str, temperature: float
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    scores = array(x)
    rows, n = scores.shape
    out = np.empty_like(scores)
    by_rows(
        _matrix_vjp_rows, (rows, n * n), array(grad), array(matrix), scores, array(order),
        kind == "neuralsort", temperature, out, grain=_GRAIN,
    )  # fmt: skip
    return torch.from_numpy(out)
