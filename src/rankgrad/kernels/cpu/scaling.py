"""A matrix with its columns and rows scaled in turn, times values: one pass over it a step.

A pass goes down the matrix by four rows at a time: their products with one vector give the factors
with which they are added to the sums of the columns, while they are at hand.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.bands import ROWS, columns_by_peaks, copy_band, room
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows, pieces, run
from rankgrad.kernels.cpu.products import FOUR, room_for_pairs, sum_of_products
from rankgrad.kernels.reference.scaling import SMALL

__all__ = ["scaled_product", "scaled_product_vjp"]

_GRAIN = 2048  # elements of a matrix worth a thread of their own
_LONG = 256  # rows of a matrix of which several threads add up the products
# Far below the last digit of any sum, with factors up to 1 / SMALL for its column and its row.
_TINY = {np.dtype(np.float32): np.float32(1e-30), np.dtype(np.float64): np.float64(1e-280)}


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _dots(p: Any, q: Any, r: Any, s: Any, x: Any) -> Any:
    a = b = c = d = x.dtype.type(0)
    for j in range(x.shape[0]):
        a += p[j] * x[j]
        b += q[j] * x[j]
        c += r[j] * x[j]
        d += s[j] * x[j]
    return a, b, c, d


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _add(p: Any, q: Any, r: Any, s: Any, factor: Any, sums: Any) -> None:
    a, b, c, d = factor[0], factor[1], factor[2], factor[3]
    for j in range(sums.shape[0]):
        sums[j] += (a * p[j] + b * q[j]) + (c * r[j] + d * s[j])


@jit()
def _add_rows(band: Any, low: Any, high: Any, factor: Any, sums: Any) -> None:
    """Write the sums of the columns, each row times its factor."""
    sums[:] = 0
    for part in range(low.shape[0]):
        i, a, b = part * ROWS, low[part], high[part]
        p, q, r, s = band[i, a:b], band[i + 1, a:b], band[i + 2, a:b], band[i + 3, a:b]
        _add(p, q, r, s, factor[i : i + ROWS], sums[a:b])


@jit(forceinline=True)
def _scale(total: Any, small: Any) -> Any:
    return 1.0 / (small if total < small else total)


@jit()
def _scale_rows(band: Any, low: Any, high: Any, x: Any, small: Any, factor: Any, sums: Any) -> Any:
    """Write factors that scale the rows times ``x``, and the sums of the columns with them.

    Return whether any factor is another than before.
    """
    sums[:] = 0
    new = False
    for part in range(low.shape[0]):
        i, a, b = part * ROWS, low[part], high[part]
        p, q, r, s = band[i, a:b], band[i + 1, a:b], band[i + 2, a:b], band[i + 3, a:b]
        its = factor[i : i + ROWS]
        old = its[0], its[1], its[2], its[3]
        totals = _dots(p, q, r, s, x[a:b])
        for k in range(ROWS):
            its[k] = _scale(totals[k], small)
            new = new or its[k] != old[k]
        _add(p, q, r, s, its, sums[a:b])
    return new


@jit()
def _pull_rows(band: Any, low: Any, high: Any, x: Any, slope: Any, factor: Any, sums: Any) -> None:
    """Write the rows times ``x`` and their slopes, and the sums of the columns with these."""
    sums[:] = 0
    for part in range(low.shape[0]):
        i, a, b = part * ROWS, low[part], high[part]
        p, q, r, s = band[i, a:b], band[i + 1, a:b], band[i + 2, a:b], band[i + 3, a:b]
        its = factor[i : i + ROWS]
        totals = _dots(p, q, r, s, x[a:b])
        for k in range(ROWS):
            its[k] = slope[i + k] * totals[k]
        _add(p, q, r, s, its, sums[a:b])


@jit()
def _vectors(band: Any) -> Any:
    """Return two vectors along the rows of the band and two along its columns."""
    along, down = np.zeros((2, band.shape[1]), band.dtype), np.zeros((2, band.shape[0]), band.dtype)
    return along[0], along[1], down[0], down[1]


@jit()
def _forward(
    matrix: Any, values: Any, small: Any, tiny: Any, out: Any, state: Any, start: Any, stop: Any
) -> None:
    n, steps = values.shape[1], state.shape[2]
    band, low, high, order = room(n, values)
    x, sums, u, product = _vectors(band)
    for row in range(start, stop):
        all_v, all_u = state[row, 0], state[row, 1]
        columns_by_peaks(matrix[row], order)
        copy_band(matrix[row], order, tiny, band, low, high)
        u[:] = 1
        _add_rows(band, low, high, u, sums)
        for t in range(steps):
            for k in range(n):
                x[k] = _scale(sums[k], small)
                all_v[t, order[k]] = x[k]
            new = _scale_rows(band, low, high, x, small, u, sums)
            all_u[t] = u[:n]
            if not new:  # nor will any be that follows
                for later in range(t + 1, steps):
                    all_v[later] = all_v[t]
                    all_u[later] = all_u[t]
                break
        for k in range(n):
            x[k] *= values[row, order[k]]
        _pull_rows(band, low, high, x, u, product, sums)
        out[row] = product[:n]


def scaled_product(matrix: Tensor, values: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.scaling`."""
    x = array(values)
    rows, n = x.shape
    out, state = np.empty_like(x), np.empty((rows, 2, steps, n), x.dtype)
    by_rows(
        _forward, (rows, n * n), array(matrix), x, x.dtype.type(SMALL), _TINY[x.dtype], out, state,
        grain=_GRAIN,
    )  # fmt: skip
    return torch.from_numpy(out), torch.from_numpy(state)


@jit(forceinline=True)
def _steepness(factor: Any, most: Any) -> Any:
    """Return the derivative of a factor by its sum; none where the sum is held at SMALL."""
    return -factor * factor if factor < most else 0 * factor


@jit()
def _backward(
    grad: Any, matrix: Any, values: Any, state: Any, most: Any, tiny: Any,
    band: Any, low: Any, high: Any, order: Any, down: Any, across: Any, to_values: Any,
) -> None:  # fmt: skip
    """Write the vectors whose products add up to the gradient of a matrix, and that of its values.

    They lie in the order in which they are found, so that what cancels stands together.
    """
    n, steps = values.shape[0], state.shape[1]
    all_v, all_u = state[0], state[1]
    v, u = all_v[steps - 1], all_u[steps - 1]
    columns_by_peaks(matrix, order)
    copy_band(matrix, order, tiny, band, low, high)
    x, sums, slope, factor = _vectors(band)
    pull = np.empty(n, values.dtype)
    for i in range(n):
        slope[i] = down[0, i] = grad[i] * u[i]
        across[0, i] = v[i] * values[i]
    _add_rows(band, low, high, slope, sums)
    for k in range(n):
        j = order[k]
        x[k] = across[0, j]
        pull[k] = sums[k] * values[j]
        to_values[j] = sums[k] * v[j]
    for i in range(n):
        slope[i] = grad[i] * _steepness(u[i], most)
    for at in range(steps):
        t, one, two = steps - 1 - at, 1 + 2 * at, 2 + 2 * at
        _pull_rows(band, low, high, x, slope, factor, sums)
        down[one, :n] = factor[:n]
        across[one, :n] = all_v[t]
        for k in range(n):
            j = order[k]
            x[k] = across[two, j] = (pull[k] + sums[k]) * _steepness(all_v[t, j], most)
        pull[:] = 0
        if t == 0:
            down[two, :n] = 1
        else:
            down[two, :n] = all_u[t - 1]
            for i in range(n):
                slope[i] = _steepness(all_u[t - 1, i], most)


@jit()
def _backward_rows(
    grad: Any, matrix: Any, values: Any, state: Any, most: Any, tiny: Any,
    to_matrix: Any, to_values: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    n = values.shape[1]
    band, low, high, order = room(n, values)
    down, across = room_for_pairs(1 + 2 * state.shape[2], n, values)
    for row in range(start, stop):
        _backward(
            grad[row], matrix[row], values[row], state[row], most, tiny, band, low, high, order,
            down, across, to_values[row],
        )  # fmt: skip
        sum_of_products(down, across, to_matrix[row], 0, down.shape[1] // FOUR)


def scaled_product_vjp(
    grad: Tensor, matrix: Tensor, values: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.scaling`."""
    x = array(values)
    rows, n = x.shape
    to_matrix, to_values = np.empty((rows, n, n), x.dtype), np.empty_like(x)
    given = array(grad), array(matrix), x, array(state)
    limits = 1 / x.dtype.type(SMALL), _TINY[x.dtype]
    if rows >= torch.get_num_threads() or n < _LONG:
        by_rows(_backward_rows, (rows, n * n), *given, *limits, to_matrix, to_values, grain=_GRAIN)
    else:
        _few(given, limits, to_matrix, to_values)
    return torch.from_numpy(to_matrix), torch.from_numpy(to_values)


def _few(given: Any, limits: Any, to_matrix: Any, to_values: Any) -> None:
    """Go back through fewer matrices than there are threads, all of which add up the products."""
    n = to_values.shape[1]
    steps = given[3].shape[2]

    def vectors(row: int) -> Any:
        down, across = room_for_pairs(1 + 2 * steps, n, to_values)
        _backward(
            *(x[row] for x in given), *limits, *room(n, to_values), down, across, to_values[row]
        )
        return down, across

    pairs = run([partial(vectors, row) for row in range(len(to_values))])
    parts = pieces((n + FOUR - 1) // FOUR, _LONG // 8, per_thread=2)
    run(
        [
            partial(sum_of_products, down, across, out, a, b)
            for (down, across), out in zip(pairs, to_matrix, strict=True)
            for a, b in parts
        ]
    )
