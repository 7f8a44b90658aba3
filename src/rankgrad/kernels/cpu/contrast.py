"""Rank-N-Contrast's rows in one visit each, along the one order of all labels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.functions import vector_exp
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.sorting import argsort
from rankgrad.kernels.reference.contrast import contrast_rows as by_torch

__all__ = ["contrast_rows"]

# Exponentials of a row are taken relative to its nearest pair and summed as they are, farthest
# label first. A sum that begins with exp(-600) still has all digits of a float64; rows that reach
# farther, or hold what is no number, are left to the reference.
_REACH = 600.0


@jit()
def _by_distance(labels: Any, i: Any, at: Any, ends: Any) -> Any:
    """Order all but the i-th of ascending labels by their distance to it, the farthest first.

    Writes their places, and where each group of one distance ends; returns how many groups.
    """
    here = labels[i]
    low, high = 0, labels.shape[0] - 1
    filled, groups = 0, 0
    while filled < labels.shape[0] - 1:
        low += low == i
        high -= high == i
        apart = max(abs(here - labels[low]), abs(here - labels[high]))
        while low <= high and (low == i or abs(here - labels[low]) == apart):
            if low != i:
                at[filled] = low
                filled += 1
            low += 1
        while low <= high and (high == i or abs(here - labels[high]) == apart):
            if high != i:
                at[filled] = high
                filled += 1
            high -= 1
        ends[groups] = filled
        groups += 1
    return groups


@jit()
def _visit(
    distance: Any, order: Any, labels: Any, temperature: Any, loss: Any, slope: Any, left: Any,
    start: Any, stop: Any,
) -> None:  # fmt: skip
    m = order.shape[0]
    at, ends = np.empty(m, np.int64), np.empty(m, np.int64)
    share, held, e = np.empty(m), np.empty(m), np.empty(m)
    scale = 1.0 / temperature
    for i in range(start, stop):
        row = distance[order[i]]
        near, far, total = np.inf, 0.0, 0.0
        for k in range(m):
            held[k] = row[order[k]]
            if k != i:
                near, far = min(near, held[k]), max(far, held[k])
                total += held[k]
        if not (far - near) * scale <= _REACH or not total < np.inf:
            left[order[i]] = True
            continue
        for k in range(m):
            e[k] = vector_exp((near - held[k]) * scale)
        groups = _by_distance(labels, i, at, ends)
        loss_i, prefix, begin = (total - (m - 1) * near) * scale, 0.0, 0
        for g in range(groups):
            for p in range(begin, ends[g]):
                prefix += e[at[p]]
            size = ends[g] - begin
            loss_i += size * np.log(prefix)
            share[g] = size / prefix
            begin = ends[g]
        loss[order[i]] = loss_i / (m - 1)
        if slope.shape[1] > 0:
            pull, end = 0.0, m - 1
            for g in range(groups - 1, -1, -1):
                pull += share[g]
                begin = ends[g - 1] if g > 0 else 0
                for p in range(begin, end):
                    k = at[p]
                    slope[order[i], order[k]] = (1.0 - e[k] * pull) * scale / (m - 1)
                end = begin


def contrast_rows(
    distance: Tensor, labels: Tensor, valid: Tensor, temperature: float, want_slope: bool
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.contrast`."""
    n = distance.shape[0]
    there = valid.nonzero()[:, 0]
    ahead = labels[there]
    if labels.shape[1] != 1 or not bool(ahead.isfinite().all()):
        # No order of the labels to walk along.
        return by_torch(distance, labels, valid, temperature, want_slope)
    loss = np.zeros(n, array(distance).dtype)
    slope = np.zeros((n, n if want_slope else 0), loss.dtype)
    if len(there) > 1:
        sorting = argsort(ahead.mT, False)[0]
        order, ascending = array(there[sorting]), array(ahead[sorting, 0])
        left = np.zeros(n, np.bool_)
        arguments = (array(distance), order, ascending, temperature, loss, slope, left)
        by_rows(_visit, (len(order), len(order)), *arguments)
        if left.any():
            anchors = torch.from_numpy(left.nonzero()[0])
            some, its_slope = by_torch(distance, labels, valid, temperature, want_slope, anchors)
            loss[left] = array(some)
            if want_slope:
                slope[left] = array(its_slope)
    return torch.from_numpy(loss), torch.from_numpy(slope if want_slope else loss[:0].copy())
