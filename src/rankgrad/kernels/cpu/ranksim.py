"""RankSim: who takes part; both rankings of a row, their error and its gradient in one visit."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.directions import LONG
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows, pieces, run
from rankgrad.kernels.cpu.ranking import hard_rank
from rankgrad.kernels.cpu.sorting import sort_row
from rankgrad.kernels.reference.ranksim import ranksim_rows as by_torch

__all__ = ["ranksim_order", "ranksim_pull", "ranksim_rows"]

_TILE = 32  # a tile and its mirror image stay in the first cache


@jit()
def _choose(labels: Any, order: Any, mask: Any, distinct: Any, out: Any) -> Any:
    """Write who takes part, by label; return how many."""
    m = 0
    for i in order:
        if mask is None or mask[i]:
            out[m] = i
            m += 1
    values = np.empty(m, labels.dtype)
    at = np.empty(m, np.int64)
    for column in range(labels.shape[1] - 1, -1, -1):
        before = out[:m].copy()
        for k in range(m):
            values[k] = labels[before[k], column]
        sort_row(values, at, False)
        for k in range(m):
            out[k] = before[at[k]]
    if not distinct:
        return m
    kept = 0
    last = np.int64(-1)
    for k in range(m):
        opens = last < 0
        for column in range(labels.shape[1]):
            opens |= labels[out[k], column] != labels[last, column]
        last = out[k]
        if opens:
            out[kept] = last
            kept += 1
    return kept


def ranksim_order(labels: Tensor, order: Tensor, mask: Tensor | None, distinct: bool) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    out = torch.empty_like(order)
    return out[: _choose(array(labels), array(order), array(mask), distinct, out.numpy())]


@jit()
def _share(values: Any, at: Any, level: Any, out: Any) -> None:
    """Write the ranks of sorted ``values`` to where they are from, equal ones averaged.

    ``level[s]`` is the rank, over the length, of places that begin and end at a sum of ``s``.
    """
    n = values.shape[0]
    tied = False
    for k in range(1, n):
        tied |= values[k] == values[k - 1]
    if not tied:
        for k in range(n):
            out[at[k]] = level[2 * k + 1]
        return
    start = 0
    while start < n:
        end = start + 1
        while end < n and values[end] == values[start]:
            end += 1
        for k in range(start, end):
            out[at[k]] = level[start + end]
        start = end


@jit()
def _average_ranks(x: Any, order: Any, held: Any, level: Any, out: Any) -> None:
    """Write the ranks of ``x``, largest first, over its length."""
    sort_row(x, order, True)
    for k in range(held.shape[0]):
        held[k] = x[order[k]]
    _share(held, order, level, out)


@jit()
def _nearer(labels: Any, here: Any, low: Any, high: Any) -> Any:
    """Return the distance and place of the nearer of two labels, and who is next on either side.

    Which side it is is as good as random: chosen without a branch, which would be mispredicted
    half of the time.
    """
    below = here - labels[low]
    above = labels[high] - here
    upwards = above < below
    step = np.int64(upwards)
    distance = above if upwards else below
    return distance, high if upwards else low, low - (1 - step), high + step


@jit()
def _label_ranks(labels: Any, i: Any, far: Any, at: Any, level: Any, out: Any) -> None:
    """Write the ranks of all ascending labels by their distance to the i-th.

    The two sides are merged from the nearest labels on and from the farthest on at once: two chains
    of steps that wait for nothing of each other.
    """
    n = labels.shape[0]
    here = labels[i]
    low = i
    high = i + 1
    bottom: Any = 0
    top = n - 1
    k = 0
    last = n - 1
    while low > bottom and high < top:  # two on either side: one for each chain
        far[k], at[k], low, high = _nearer(labels, here, low, high)
        k += 1
        below = here - labels[bottom]
        above = labels[top] - here
        upwards = above > below
        far[last] = above if upwards else below
        at[last] = top if upwards else bottom
        top -= np.int64(upwards)
        bottom += np.int64(not upwards)
        last -= 1
    while low >= bottom and high <= top:
        far[k], at[k], low, high = _nearer(labels, here, low, high)
        k += 1
    while low >= bottom:
        far[k] = here - labels[low]
        at[k] = low
        low -= 1
        k += 1
    while high <= top:
        far[k] = labels[high] - here
        at[k] = high
        high += 1
        k += 1
    _share(far, at, level, out)


@jit()
def _broken(row: Any, labels: Any, i: Any) -> Any:
    """Whether a NaN is about; the distance of an infinite label to itself is one."""
    found = labels[i] - labels[i] != 0
    for k in range(row.shape[0]):
        found |= row[k] != row[k]
        found |= labels[k] != labels[k]
    return found


@jit()
def _visit(
    x: Any, labels: Any, step: Any, strength: Any, level: Any, loss: Any, slope: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    """Write the loss of each row, and its slope if there is room for it."""
    m = labels.shape[0]
    moved = np.empty(m, x.dtype)
    order = np.empty(m, np.int64)
    at = np.empty(m, np.int64)
    held = np.empty(m, x.dtype)
    far = np.empty(m, labels.dtype)
    ranks = np.empty(m, x.dtype)
    wanted = np.empty(m, x.dtype)
    for i in range(start, stop):
        row = x[i, :m]
        if _broken(row, labels, i):
            loss[i] = np.nan
            slope[i, :m] = np.nan
            continue
        _average_ranks(row, order, held, level, ranks)
        _label_ranks(labels, i, far, at, level, wanted)
        total = 0.0
        for k in range(m):
            error = ranks[k] - wanted[k]
            total += np.float64(error) * error
            moved[k] = row[k] + step * error
        loss[i] = total / m
        if slope.shape[1] > 0:
            out = slope[i, :m]
            _average_ranks(moved, order, held, level, out)
            for k in range(m):
                out[k] = (out[k] - ranks[k]) / strength


def ranksim_rows(
    similarity: Tensor, labels: Tensor, count: Tensor | None, strength: float, want_slope: bool
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    if labels.shape[1] != 1:  # no order of the labels to merge along
        return by_torch(similarity, labels, count, strength, want_slope, hard_rank)
    x = array(similarity)
    n = x.shape[0]
    m = n if count is None else int(count)
    loss = np.zeros(n, x.dtype)
    slope = np.zeros((n, n if want_slope else 0), x.dtype)
    step = x.dtype.type(2 * strength / max(m, 1))
    at = labels.detach()[:, 0].contiguous().numpy()[:m]
    level = (0.5 * (np.arange(2 * m + 1) + 1) / max(m, 1)).astype(x.dtype)
    arguments = (x, at, step, strength, level, loss, slope)
    by_rows(_visit, (m, m), *arguments)
    return torch.from_numpy(loss), torch.from_numpy(slope if want_slope else loss[:0].copy())


@jit()
def _pull(slope: Any, grad: Any, out: Any, first: Any, every: Any) -> None:
    """Write every so many rows of tiles of the upper half, and their mirror images."""
    n = slope.shape[0]
    for a in range(first * _TILE, n, every * _TILE):
        for b in range(a, n, _TILE):
            for i in range(a, min(a + _TILE, n)):
                for j in range(b, min(b + _TILE, n)):
                    out[i, j] = grad[i] * slope[i, j] + grad[j] * slope[j, i]
            for j in range(b, min(b + _TILE, n)):
                for i in range(a, min(a + _TILE, n)):
                    out[j, i] = out[i, j]


def ranksim_pull(slope: Tensor, grad: Tensor) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    s = array(slope)
    g = array(grad)
    out = np.empty_like(s)
    parts = len(pieces(s.size, LONG, 4))
    run([partial(_pull, s, g, out, first, parts) for first in range(parts)])
    return torch.from_numpy(out)
