"""Soft top-k indicators: one sort, two running sums and one square root a row."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.sorting import sort_rows

__all__ = ["soft_topk", "soft_topk_vjp"]


@jit()
def _threshold(y: Any, m: Any, k: Any, scale: Any, ahead: Any, behind: Any) -> Any:
    """Return the ``t`` with ``sum_i H((y_i - t) / scale) = k``, for falling ``y`` and 0 < k < m.

    It comes as one of the scores and a shift in units of ``scale``, so that large scores cost no
    digits.

    ``ahead[j]`` sums ``exp(-(y_i - y_j) / scale)`` over the ``i <= j``, ``behind[j]`` its mirror
    image over the ``i >= j``. Between neighbours ``j`` and ``j + 1`` the sum is then a constant
    and two exponentials of ``t``: a quadratic equation, solved by its logarithm, so that no gap
    is too wide for it.
    """
    behind[m - 1] = 1.0
    for j in range(m - 2, -1, -1):
        behind[j] = 1.0 + behind[j + 1] * np.exp((y[j + 1] - y[j]) / scale)
    ahead[0] = 1.0
    # The sum rises as t falls: find the last score at which it is at most k.
    last = -1
    for j in range(m):
        if j > 0:
            ahead[j] = 1.0 + ahead[j - 1] * np.exp((y[j] - y[j - 1]) / scale)
        if j + 0.5 * (1.0 - ahead[j] + behind[j]) > k:
            break
        last = j
    if last < 0:
        return y[0], np.log(behind[0] / (2 * k))
    if last == m - 1:
        return y[m - 1], np.log(2 * (m - k) / ahead[m - 1])
    a, b = ahead[last], behind[last + 1]
    gap = 0.5 * (y[last] - y[last + 1]) / scale
    excess = last + 1 - k
    turn = 0.5 * np.log(b / a)
    if excess != 0.0:
        size = np.log(abs(excess)) + gap - 0.5 * np.log(a * b)
        if size > 20:  # asinh(exp(size)) is size + log 2: one neighbour is out of sight
            if excess > 0:
                return y[last], np.log(2 * excess / a)
            return y[last + 1], -np.log(-2 * excess / b)
        angle = np.arcsinh(np.exp(size))
        turn += angle if excess > 0 else -angle
    return y[last], turn - gap


@jit()
def _probability(z: Any, log: Any) -> Any:
    tail = 0.5 * np.exp(-abs(z))
    if log:
        return np.log1p(-tail) if z > 0 else z - np.log(2.0)
    return 1.0 - tail if z > 0 else tail


@jit()
def _topk_rows(
    x: Any, mask: Any, order: Any, k: Any, scale: Any, log: Any, out: Any, threshold: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    y, ahead, behind = np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        m, highest, lowest = 0, 0, 0
        broken = k[row] != k[row] or scale[row] != scale[row]
        for j in range(n):
            i = order[row, j]
            if mask is None or mask[row, i]:
                value = x[row, i]
                broken |= value != value
                if value == np.inf:
                    highest += 1
                elif value == -np.inf:
                    lowest += 1
                else:
                    y[m] = value
                    m += 1
        # Equal infinite scores share what of k falls to them.
        rest = k[row] - highest
        origin = 0.0
        if broken:
            shift = np.nan
        elif rest <= 0 or m == 0:
            shift = np.inf
        elif rest >= m:
            shift = -np.inf
        else:
            origin, shift = _threshold(y, m, rest, scale[row], ahead, behind)
        threshold[row, 0], threshold[row, 1] = origin, shift
        for i in range(n):
            value = np.float64(x[row, i])
            if mask is not None and not mask[row, i]:
                out[row, i] = -np.inf if log else 0.0
            elif broken:
                out[row, i] = np.nan
            elif np.isinf(value):
                if value > 0:
                    p = min(1.0, max(0.0, k[row] / highest))
                else:
                    p = min(1.0, max(0.0, (rest - m) / lowest))
                out[row, i] = np.log(p) if log else p
            else:
                out[row, i] = _probability((value - origin) / scale[row] - shift, log)


@jit()
def _topk_vjp_rows(
    grad: Any, x: Any, mask: Any, threshold: Any, scale: Any, log: Any, out: Any, grad_k: Any,
    grad_scale: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    z, near = np.empty(n), np.empty(n)
    for row in range(start, stop):
        out[row] = 0.0
        grad_k[row] = 0.0
        grad_scale[row] = 0.0
        origin, shift, s = threshold[row, 0], threshold[row, 1], scale[row]
        if not np.isfinite(shift):
            continue
        closest = np.inf
        for i in range(n):
            z[i] = np.inf
            if mask is None or mask[row, i]:
                z[i] = (x[row, i] - origin) / s - shift
            closest = min(closest, abs(z[i]))
        mass = 0.0
        for i in range(n):
            near[i] = np.exp(closest - abs(z[i]))
            mass += near[i]
        # How the threshold follows the scores: weights that sum to one, whatever underflows.
        mean = 0.0
        for i in range(n):
            near[i] /= mass
            if near[i] > 0:
                mean += near[i] * z[i]
        whole, steep = 0.0, 0.0
        for i in range(n):
            if np.isinf(z[i]):
                continue
            tail = 0.5 * np.exp(-abs(z[i]))
            if log:
                tail = 1.0 if z[i] <= 0 else tail / (1.0 - tail)
                whole += grad[row, i] * tail
            else:
                whole += grad[row, i] * near[i]
            steep += grad[row, i] * tail * (mean - z[i])
        for i in range(n):
            if np.isinf(z[i]):
                continue
            tail = 0.5 * np.exp(-abs(z[i]))
            if log:
                tail = 1.0 if z[i] <= 0 else tail / (1.0 - tail)
                out[row, i] = (tail * grad[row, i] - near[i] * whole) / s
            else:
                out[row, i] = tail * (grad[row, i] - whole) / s
        if log and whole != 0.0:
            whole *= 2.0 * np.exp(closest) / mass
        grad_k[row] = whole
        grad_scale[row] = steep / s


def soft_topk(
    x: Tensor, mask: Tensor | None, k: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor]:
    """Return the indicators of each row of ``x`` [rows, n] and the thresholds [rows, 2].

    ``k`` and ``scale`` are float64 [rows]; with ``log`` the indicators' logarithms. A threshold is
    a score and a shift from it in units of ``scale``; infinite where all or none are in.
    """
    values = array(x)
    flags, ks, scales = array(mask), array(k), array(scale)
    order = np.empty(values.shape, np.int64)
    out = np.empty_like(values)
    threshold = np.empty((values.shape[0], 2), np.float64)

    def serve(start: int, stop: int) -> None:
        sort_rows(values, order, True, start, stop)
        _topk_rows(values, flags, order, ks, scales, log, out, threshold, start, stop)

    by_rows(serve, values.shape)
    return torch.from_numpy(out), torch.from_numpy(threshold)


def soft_topk_vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, threshold: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the scores, of ``k`` and of ``scale``."""
    values = array(x)
    out = np.empty_like(values)
    grad_k, grad_scale = np.empty(len(values)), np.empty(len(values))
    by_rows(
        _topk_vjp_rows, values.shape, array(grad), values, array(mask), array(threshold),
        array(scale), log, out, grad_k, grad_scale,
    )  # fmt: skip
    return torch.from_numpy(out), torch.from_numpy(grad_k), torch.from_numpy(grad_scale)
