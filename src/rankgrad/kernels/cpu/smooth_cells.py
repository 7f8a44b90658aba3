"""Cells of sorted points in which a smooth function is a polynomial, and what stands for them."""

from functools import cache
from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit

__all__ = ["chebyshev", "cut", "representatives", "series"]

_BLOCK = 512  # points whose polynomials are evaluated together


@cache
def chebyshev(degree: int) -> Any:
    """Return the polynomials ``T_n`` (rows) at the Chebyshev points, in ascending order."""
    at = np.arange(2 * degree - 1, 0, -2)
    return np.cos(np.arange(degree)[:, None] * (np.pi * at / (2 * degree)))


@jit()
def cut(x: Any, begin: Any, end: Any, width: Any, edges: Any) -> Any:
    """Write where the cells of the sorted ``x[begin:end]`` start, and its end; return how many.

    Each spans at most ``width``.
    """
    count = 0
    at = begin
    while at < end:
        edges[count] = at
        count += 1
        stop = np.float64(x[at]) + width
        step = 1
        while at + step < end and x[at + step] <= stop:  # gallop, then halve
            step *= 2
        inside, beyond = at + step // 2, min(at + step, end)
        while beyond - inside > 1:
            middle = (inside + beyond) >> 1
            if x[middle] <= stop:
                inside = middle
            else:
                beyond = middle
        at = inside + 1
    edges[count] = end
    return count


@jit(fastmath={"reassoc", "contract", "nsz"})
def _moments(x: Any, w: Any, begin: Any, end: Any, centre: Any, scale: Any, out: Any) -> None:
    """Write ``sum_j w_j T_n((x_j - centre) * scale)`` for the Chebyshev polynomials ``T_n``."""
    t = np.empty(_BLOCK)
    older = np.empty(_BLOCK)
    newer = np.empty(_BLOCK)
    out[:] = 0.0
    for block in range(begin, end, _BLOCK):
        n = min(_BLOCK, end - block)
        total = 0.0
        for i in range(n):
            t[i] = (x[block + i] - centre) * scale
            older[i] = 1.0 if w is None else np.float64(w[block + i])
            newer[i] = t[i] * older[i]
            total += older[i]
        out[0] += total
        for degree in range(1, out.shape[0]):
            total = 0.0
            for i in range(n):
                total += newer[i]
                following = 2.0 * t[i] * newer[i] - older[i]
                older[i] = newer[i]
                newer[i] = following
            out[degree] += total


@jit(fastmath={"reassoc", "contract", "nsz"})
def series(
    x: Any, begin: Any, end: Any, centre: Any, scale: Any, coef: Any, to: Any, factor: Any, out: Any
) -> None:
    """Write ``factor * sum_n coef_n T_n((x_j - centre) * scale)`` to ``out[to[j]]``."""
    t = np.empty(_BLOCK)
    older = np.empty(_BLOCK)
    newer = np.empty(_BLOCK)
    degree = coef.shape[0] - 1
    for block in range(begin, end, _BLOCK):
        n = min(_BLOCK, end - block)
        for i in range(n):
            t[i] = 2.0 * (x[block + i] - centre) * scale
            older[i] = 0.0
            newer[i] = coef[degree]
        for d in range(degree - 1, 0, -1):
            for i in range(n):
                following = coef[d] + t[i] * newer[i] - older[i]
                older[i] = newer[i]
                newer[i] = following
        for i in range(n):
            out[to[block + i]] = factor * (coef[0] + 0.5 * t[i] * newer[i] - older[i])


@jit(forceinline=True)
def representatives(
    x: Any, w: Any, begin: Any, end: Any, width: Any, waves: Any, moments: Any, edges: Any,
    place: Any, weight: Any,
) -> Any:  # fmt: skip
    """Write places and weights that stand for the keys ``x[begin:end]``; return how many.

    They ascend from cell to cell. ``moments`` and ``edges`` are room to work in.
    """
    degree = waves.shape[0]
    cells = cut(x, begin, end, width, edges)
    count = 0
    for cell in range(cells):
        a, b = edges[cell], edges[cell + 1]
        half = 0.5 * (np.float64(x[b - 1]) - x[a])
        if b - a <= degree or half == 0.0:
            if half == 0.0:
                total = 0.0
                for j in range(a, b):
                    total += 1.0 if w is None else np.float64(w[j])
                place[count], weight[count] = x[a], total
                count += 1
                continue
            for j in range(a, b):
                place[count] = x[j]
                weight[count] = 1.0 if w is None else np.float64(w[j])
                count += 1
            continue
        centre = x[a] + half
        _moments(x, w, a, b, centre, 1.0 / half, moments)
        for m in range(degree):
            place[count] = centre + half * waves[1, m]
            total = moments[0]
            for n in range(1, degree):
                total += 2.0 * waves[n, m] * moments[n]
            weight[count] = total / degree
            count += 1
    return count
