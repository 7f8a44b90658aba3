"""Soft ranks and soft sorting by projection onto the permutahedron: one sort, one pass of pooling.

Both problems are isotonic regressions along the sorted scores, solved by pooling adjacent
violators: blocks of neighbours lie on a stack and merge while their values are out of order. Every
element enters a block once and leaves the stack once, so that a row costs ``O(n)`` after its sort.
All sums are float64. Block values are worked out afresh, about the first score of the block, when
the partition is known, so that large scores and tiny strengths cost no digits.

What backward needs of all this is ``block``: for every element, in the place of the input, the
sorted position at which its block starts; -1 where masked, and in a row with a NaN.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.sorting import sort_row

__all__ = ["project_rank", "project_rank_vjp", "project_sort", "project_sort_vjp"]


@jit()
def _pool_means(t: Any, m: Any, begin: Any, total: Any, count: Any) -> Any:
    """Fit a falling line of block means to ``t``; write where blocks begin, return their number."""
    top = -1
    at = 0
    while at < m:
        first = at
        s, c = t[at], 1.0
        at += 1
        while True:
            # Means are compared crosswise: a division a step would be the longest of all.
            while at < m and t[at] * c >= s:
                s += t[at]
                c += 1.0
                at += 1
            if top < 0 or not total[top] * c <= s * count[top]:
                break
            s += total[top]
            c += count[top]
            first = begin[top]
            top -= 1
        top += 1
        begin[top] = first
        total[top] = s
        count[top] = c
    begin[top + 1] = m
    return top + 1


@jit()
def _pool_entropic_rank(
    y: Any, m: Any, first: Any, strength: Any, begin: Any, mass: Any, weight: Any
) -> Any:
    """Pool the blocks of the entropic soft rank of ``y``, whose places start at ``first``.

    A block's value is ``log(sum of places) - log(sum of exp(-y / strength))``. Its ``mass`` is
    the second sum in units of its last, largest term, so that one exponential settles a
    comparison without a logarithm and nothing overflows.
    """
    top = -1
    for i in range(m):
        start = i
        e, w = 1.0, first + i
        while top >= 0:
            shrink = np.exp((y[i] - y[start - 1]) / strength)
            if not weight[top] * e <= w * mass[top] * shrink:
                break
            e += mass[top] * shrink
            w += weight[top]
            start = begin[top]
            top -= 1
        top += 1
        begin[top] = start
        mass[top] = e
        weight[top] = w
    begin[top + 1] = m
    return top + 1


@jit()
def _pool_entropic_sort(y: Any, m: Any, strength: Any, begin: Any, mass: Any, level: Any) -> Any:
    """Pool the blocks of the entropic soft sort of ``y``.

    A block's ``level`` is the logarithm of its share of ``exp(places)`` less that of its share of
    ``exp(y)``; its ``mass`` is the latter in units of its first, largest term.
    """
    step = 1.0 / strength
    unit = np.expm1(-step)
    top = -1
    for i in range(m):
        start, length = i, 1
        e = 1.0
        value = -i * step - y[i]
        while top >= 0 and level[top] <= value:
            before = begin[top]
            length += start - before
            e = mass[top] + e * np.exp(y[start] - y[before])
            start = before
            value = -start * step + np.log(np.expm1(-length * step) / unit / e) - y[start]
            top -= 1
        top += 1
        begin[top] = start
        mass[top] = e
        level[top] = value
    begin[top + 1] = m
    return top + 1


@jit()
def _rank_rows(
    x: Any, mask: Any, strength: Any, entropic: Any, out: Any, block: Any, start: Any, stop: Any
) -> None:
    n = x.shape[1]
    order, at = np.empty(n, np.int64), np.empty(n, np.int64)
    begin = np.empty(n + 1, np.int64)
    y, t, a, b = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        sort_row(x[row], order, True)
        m = 0
        for j in range(n):
            i = order[j]
            if mask is None or mask[row, i]:
                at[m] = i
                y[m] = x[row, i]
                m += 1
            else:
                out[row, i] = 0.0
                block[row, i] = -1
        if m > 0 and y[0] != y[0]:  # NaN sorts first
            for j in range(m):
                out[row, at[j]] = np.nan
                block[row, at[j]] = -1
            continue
        # Infinite scores are a block of their own at either end: they share its places.
        low, high = 0, m
        while low < m and y[low] == np.inf:
            low += 1
        while high > low and y[high - 1] == -np.inf:
            high -= 1
        for j in range(low):
            out[row, at[j]] = 0.5 * (low + 1)
            block[row, at[j]] = 0
        for j in range(high, m):
            out[row, at[j]] = 0.5 * (high + m + 1)
            block[row, at[j]] = high
        inner = y[low:high]
        if entropic:
            blocks = _pool_entropic_rank(inner, high - low, low + 1.0, strength, begin, a, b)
        else:
            for j in range(low, high):
                t[j] = y[j] + strength * (j + 1)
            blocks = _pool_means(t[low:high], high - low, begin, a, b)
        for k in range(blocks):
            lo, hi = low + begin[k], low + begin[k + 1]
            if hi - lo == 1:
                out[row, at[lo]] = lo + 1
                block[row, at[lo]] = lo
                continue
            places = 0.5 * (hi - lo) * (lo + hi + 1)
            total = 0.0
            if entropic:
                for j in range(lo, hi):
                    t[j] = np.exp((y[hi - 1] - y[j]) / strength)
                    total += t[j]
                for j in range(lo, hi):
                    out[row, at[j]] = t[j] / total * places
                    block[row, at[j]] = lo
            else:
                for j in range(lo, hi):
                    total += y[j] - y[lo]
                mean = total / (hi - lo)
                middle = places / (hi - lo)
                for j in range(lo, hi):
                    out[row, at[j]] = middle + (mean - (y[j] - y[lo])) / strength
                    block[row, at[j]] = lo


@jit()
def _sort_rows(
    x: Any, mask: Any, strength: Any, entropic: Any, out: Any, block: Any, start: Any, stop: Any
) -> None:
    n = x.shape[1]
    order, at = np.empty(n, np.int64), np.empty(n, np.int64)
    begin = np.empty(n + 1, np.int64)
    y, t, a, b = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    step = 1.0 / strength
    for row in range(start, stop):
        sort_row(x[row], order, True)
        m = 0
        for j in range(n):
            i = order[j]
            if mask is None or mask[row, i]:
                at[m] = i
                y[m] = x[row, i]
                m += 1
            else:
                block[row, i] = -1
        out[row, m:] = 0.0
        if m > 0 and (y[0] != y[0] or (entropic and np.isinf(y[0]))):
            for j in range(m):
                out[row, j] = np.nan
                block[row, at[j]] = -1
            continue
        if entropic:
            blocks = _pool_entropic_sort(y, m, strength, begin, a, b)
        else:
            for j in range(m):
                t[j] = -strength * y[j] - (j + 1)
            blocks = _pool_means(t, m, begin, a, b)
        for k in range(blocks):
            lo, hi = begin[k], begin[k + 1]
            total = 0.0
            if entropic:
                for j in range(lo, hi):
                    total += np.exp(y[j] - y[lo])
                share = np.log(np.expm1(-(hi - lo) * step) / np.expm1(-step) / total)
            else:
                for j in range(lo, hi):
                    total += y[j] - y[lo]
                share = -total / (hi - lo) - 0.5 * (hi - lo - 1) * step
            for j in range(lo, hi):
                out[row, j] = y[lo] - ((j - lo) * step + share)
                block[row, at[j]] = lo


@jit()
def _rank_vjp_rows(
    grad: Any, ranks: Any, block: Any, strength: Any, entropic: Any, out: Any, start: Any, stop: Any
) -> None:
    n = grad.shape[1]
    for row in range(start, stop):
        total, weight = np.zeros(n), np.zeros(n)
        for i in range(n):
            b = block[row, i]
            if b >= 0:
                share = np.float64(ranks[row, i]) if entropic else 1.0
                total[b] += grad[row, i] * share
                weight[b] += share
        for i in range(n):
            b = block[row, i]
            if b >= 0:
                share = np.float64(ranks[row, i]) if entropic else 1.0
                out[row, i] = share * (total[b] / weight[b] - grad[row, i]) / strength
            else:
                out[row, i] = 0.0


@jit()
def _sort_vjp_rows(
    grad: Any, x: Any, block: Any, entropic: Any, out: Any, start: Any, stop: Any
) -> None:
    n = grad.shape[1]
    for row in range(start, stop):
        length = np.zeros(n, np.int64)
        total, weight = np.zeros(n), np.zeros(n)
        peak = np.full(n, -np.inf)
        for i in range(n):
            b = block[row, i]
            if b >= 0:
                length[b] += 1
                peak[b] = max(peak[b], x[row, i])
        for i in range(n):
            b = block[row, i]
            if b >= 0:
                weight[b] += np.exp(x[row, i] - peak[b]) if entropic else 1.0
        b = 0
        while b < n and length[b] > 0:
            for j in range(b, b + length[b]):
                total[b] += grad[row, j]
            b += length[b]
        for i in range(n):
            b = block[row, i]
            if b >= 0:
                share = np.exp(x[row, i] - peak[b]) if entropic else 1.0
                out[row, i] = share / weight[b] * total[b]
            else:
                out[row, i] = 0.0


def _projected(
    rows: Callable[..., None], x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    values = array(x)
    out = np.empty_like(values)
    block = np.empty(values.shape, np.int32)
    by_rows(rows, values.shape, values, array(mask), strength, entropic, out, block)
    return torch.from_numpy(out), torch.from_numpy(block)


def project_rank(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the soft ranks of each row of ``x`` [rows, n], 0 where masked, and the blocks."""
    return _projected(_rank_rows, x, mask, strength, entropic)


def project_sort(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the softly sorted rows of ``x`` [rows, n], largest first, and the blocks."""
    return _projected(_sort_rows, x, mask, strength, entropic)


def project_rank_vjp(
    grad: Tensor, ranks: Tensor, block: Tensor, strength: float, entropic: bool
) -> Tensor:
    """Return the gradient of the scores for the gradient of their soft ranks."""
    soft = array(ranks)
    out = np.empty_like(soft)
    by_rows(_rank_vjp_rows, out.shape, array(grad), soft, array(block), strength, entropic, out)
    return torch.from_numpy(out)


def project_sort_vjp(grad: Tensor, x: Tensor, block: Tensor, entropic: bool) -> Tensor:
    """Return the gradient of the scores for the gradient of their softly sorted values."""
    values = array(x)
    out = np.empty_like(values)
    by_rows(_sort_vjp_rows, out.shape, array(grad), values, array(block), entropic, out)
    return torch.from_numpy(out)
