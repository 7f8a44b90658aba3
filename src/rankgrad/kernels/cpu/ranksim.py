"""RankSim's rows: both rankings, their error and its blackbox gradient in one visit of a row."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.ranking import hard_rank
from rankgrad.kernels.cpu.sorting import _rows32, _rows64
from rankgrad.kernels.reference.ranksim import ranksim_rows as by_torch

__all__ = ["ranksim_rows"]


@jit()
def _average_ranks(x: Any, order: Any, out: Any) -> None:
    """Write the ranks of ``x``, over its length, equal values averaged, given its sorted order."""
    n = x.shape[0]
    at = 0
    while at < n:
        value = x[order[at]]
        end = at + 1
        while end < n and x[order[end]] == value:
            end += 1
        shared = 0.5 * (at + end + 1) / n
        for k in range(at, end):
            out[order[k]] = shared
        at = end


@jit()
def _label_ranks(labels: Any, i: Any, out: Any) -> None:
    """Write the ranks of all ascending labels by their distance to the i-th: one merge."""
    n = labels.shape[0]
    here = labels[i]
    low = i  # the nearest on either side that have no rank yet
    high = i + 1
    while low >= 0 or high < n:
        if low < 0:
            nearest = labels[high] - here
        elif high >= n:
            nearest = here - labels[low]
        else:
            nearest = min(here - labels[low], labels[high] - here)
        first = low
        last = high
        while low >= 0 and here - labels[low] == nearest:
            low -= 1
        while high < n and labels[high] - here == nearest:
            high += 1
        seen = last - first - 1
        now = high - low - 1
        shared = 0.5 * (seen + now + 1) / n
        for k in range(low + 1, first + 1):
            out[k] = shared
        for k in range(last, high):
            out[k] = shared


@jit()
def _compare(row: Any, order: Any, labels: Any, i: Any, ranks: Any, step: Any, moved: Any) -> Any:
    """Rank a sorted row; return its error and write where its gradient moves it, NaN if broken."""
    broken = labels[i] - labels[i] != 0  # the distance of an infinite label to itself is NaN
    for k in range(row.shape[0]):
        broken |= row[k] != row[k] or labels[k] != labels[k]
    if broken:
        moved[:] = np.nan
        return np.nan
    _average_ranks(row, order, ranks)
    _label_ranks(labels, i, moved)
    total = 0.0
    for k in range(row.shape[0]):
        error = ranks[k] - moved[k]
        total += np.float64(error) * error
        moved[k] = row[k] + step * error
    return total / row.shape[0]


@jit()
def _slope(moved: Any, order: Any, ranks: Any, strength: Any, slope: Any) -> None:
    if moved[0] != moved[0]:
        slope[:] = np.nan
        return
    m = moved.shape[0]
    _average_ranks(moved, order, slope)
    for k in range(m):
        slope[k] = (slope[k] - ranks[k]) / strength


# Two functions that differ in their sort alone: numba cannot choose by dtype.


@jit()
def _visit32(
    x: Any, labels: Any, step: Any, strength: Any, loss: Any, slope: Any, start: Any, stop: Any
) -> None:
    m = labels.shape[0]
    moved = np.empty((1, m), x.dtype)
    order = np.empty((1, m), np.int64)
    ranks = np.empty(m, x.dtype)
    for i in range(start, stop):
        row = x[i, :m]
        moved[0, :] = row  # in the layout that the sort is compiled for already
        _rows32(moved, order, True, 0, 1)
        loss[i] = _compare(row, order[0], labels, i, ranks, step, moved[0])
        if slope.shape[1] > 0:
            _rows32(moved, order, True, 0, 1)
            _slope(moved[0], order[0], ranks, strength, slope[i, :m])


@jit()
def _visit64(
    x: Any, labels: Any, step: Any, strength: Any, loss: Any, slope: Any, start: Any, stop: Any
) -> None:
    m = labels.shape[0]
    moved = np.empty((1, m), x.dtype)
    order = np.empty((1, m), np.int64)
    ranks = np.empty(m, x.dtype)
    for i in range(start, stop):
        row = x[i, :m]
        moved[0, :] = row  # in the layout that the sort is compiled for already
        _rows64(moved, order, True, 0, 1)
        loss[i] = _compare(row, order[0], labels, i, ranks, step, moved[0])
        if slope.shape[1] > 0:
            _rows64(moved, order, True, 0, 1)
            _slope(moved[0], order[0], ranks, strength, slope[i, :m])


def ranksim_rows(
    similarity: Tensor, labels: Tensor, count: Tensor | None, strength: float, want_slope: bool
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    if labels.shape[1] != 1:  # no order of the labels to merge along
        return by_torch(similarity, labels, count, strength, want_slope, hard_rank)
    x = similarity.detach().contiguous().numpy()
    n = x.shape[0]
    m = n if count is None else int(count)
    loss = np.zeros(n, x.dtype)
    slope = np.zeros((n, n if want_slope else 0), x.dtype)
    step = x.dtype.type(2 * strength / max(m, 1))
    at = labels.detach()[:, 0].contiguous().numpy()[:m]
    visit = _visit64 if x.dtype == np.float64 else _visit32
    grain = max(1, 8192 // max(m, 1))
    run([partial(visit, x, at, step, strength, loss, slope, a, b) for a, b in pieces(m, grain)])
    return torch.from_numpy(loss), torch.from_numpy(slope if want_slope else loss[:0].copy())
