"""Products with the matrices of SoftSort and NeuralSort, which are never built."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu import neuralsort_parts
from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.neuralsort import neuralsort_average, neuralsort_average_vjp
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.softsort import softsort_average, softsort_average_vjp
from rankgrad.kernels.cpu.sorted_rows import in_order, put_back, sort_valid, take_valid
from rankgrad.kernels.cpu.unimodal_ranks import GRAIN, in_parts, work

__all__ = ["unimodal_average", "unimodal_average_vjp"]


@jit()
def _even_out(v: Any, first: Any, last: Any) -> None:
    """Give all of a block its mean."""
    total = 0.0
    for k in range(first, last):
        total += v[k]
    for k in range(first, last):
        v[k] = total / (last - first)


@jit()
def _ends(values: Any, v: Any, m: Any, low: Any, high: Any, out: Any) -> None:
    """Fill a row but for the places of finite scores."""
    out[m:] = 0.0
    if low < 0:
        out[:m] = np.nan
        return
    if values is not None:
        _even_out(v, 0, low)
        _even_out(v, high, m)
    for k in range(low):
        out[k] = v[k]
    for k in range(high, m):
        out[k] = v[k]


@jit()
def _average_rows(
    x: Any, values: Any, mask: Any, neural: Any, temperature: Any, out: Any, order: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    y, v, average = np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        m, low, high = sort_valid(x, mask, row, order[row], y)
        take_valid(x[row] if values is None else values[row], order[row], m, v)
        if low < high:
            if neural:
                neuralsort_average(y[low:high], temperature, v[low:high], average[low:high])
            else:
                softsort_average(y[low:high], temperature, v[low:high], average[low:high])
        for k in range(low, high):
            out[row, k] = average[k]
        _ends(values, v, m, low, high, out[row])


def unimodal_average(
    x: Tensor, values: Tensor | None, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    scores, others, flags, neural = array(x), array(values), array(mask), kind == "neuralsort"
    n = scores.shape[1]
    out, order = np.empty_like(scores), np.empty(scores.shape, np.int64)
    if not in_parts(neural, n):
        by_rows(
            _average_rows, work(neural, scores.shape), scores, others, flags, neural, temperature,
            out, order, grain=GRAIN,
        )  # fmt: skip
    else:
        y, v, average = np.empty(n), np.empty(n), np.empty(n)
        for row, its_out in enumerate(out):
            m, low, high = sort_valid(scores, flags, row, order[row], y)
            take_valid((scores if others is None else others)[row], order[row], m, v)
            if low < high:
                neuralsort_parts.neuralsort_average(
                    y[low:high], temperature, v[low:high], average[low:high]
                )
                its_out[low:high] = average[low:high]
            _ends(others, v, m, low, high, its_out)
    return torch.from_numpy(out), torch.from_numpy(order)


@jit()
def _put_gradients(
    values: Any, grad: Any, order: Any, m: Any, low: Any, high: Any, to_y: Any, to_v: Any,
    out: Any, to_values: Any,
) -> None:  # fmt: skip
    if values is None:
        for k in range(low, high):
            to_y[k] += to_v[k]
    elif low >= 0:
        for k in range(m):
            if k < low or k >= high:
                to_v[k] = grad[k]
        _even_out(to_v, 0, low)
        _even_out(to_v, high, m)
        put_back(to_v, order, 0, m, to_values)
    else:
        to_values[:] = 0.0
    put_back(to_y, order, low, high, out)


@jit()
def _average_vjp_rows(
    grad: Any, x: Any, values: Any, order: Any, neural: Any, temperature: Any, out: Any,
    to_values: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    y, v, g, to_y, to_v = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        m, low, high = in_order(x, row, order[row], y)
        take_valid(x[row] if values is None else values[row], order[row], m, v)
        for k in range(m):
            g[k] = grad[row, k]
        if low < high:
            inner, its_v, its_g = y[low:high], v[low:high], g[low:high]
            to, its_to_v = to_y[low:high], to_v[low:high]
            if neural:
                neuralsort_average_vjp(inner, temperature, its_v, its_g, to, its_to_v)
            else:
                softsort_average_vjp(inner, temperature, its_v, its_g, to, its_to_v)
        _put_gradients(
            values, g, order[row], m, low, high, to_y, to_v, out[row],
            to_values[0] if values is None else to_values[row],
        )  # fmt: skip


def unimodal_average_vjp(
    grad: Tensor, x: Tensor, values: Tensor | None, order: Tensor, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    scores, others, neural = array(x), array(values), kind == "neuralsort"
    rows, n = scores.shape
    grads, orders = array(grad), array(order)
    out = np.empty_like(scores)
    to_values = np.empty((rows, 0) if others is None else scores.shape, scores.dtype)
    if not in_parts(neural, n):
        by_rows(
            _average_vjp_rows, work(neural, scores.shape), grads, scores, others, orders, neural,
            temperature, out, to_values, grain=GRAIN,
        )  # fmt: skip
    else:
        y, v, to_y, to_v = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
        for row in range(rows):
            m, low, high = in_order(scores, row, orders[row], y)
            take_valid((scores if others is None else others)[row], orders[row], m, v)
            g = grads[row].astype(np.float64)
            if low < high:
                neuralsort_parts.neuralsort_average_vjp(
                    y[low:high], temperature, v[low:high], g[low:high], to_y[low:high],
                    to_v[low:high],
                )  # fmt: skip
            _put_gradients(
                others, g, orders[row], m, low, high, to_y, to_v, out[row], to_values[row]
            )
    return torch.from_numpy(out), torch.from_numpy(to_values)
