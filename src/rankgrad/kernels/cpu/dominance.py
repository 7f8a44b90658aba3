"""Sums of comparisons over the pairs whose labels are in order, in ``O(p log p)``.

The elements come in order of label, best first, so that the partners of element ``i`` are a prefix
``0 .. ends[i]``. A prefix is a few whole blocks of size ``64 * 2**level``, at most one a level, and
a remainder. Within a block the partners are sorted by score and a query reads its sum off running
totals, as in :mod:`.ramp`; the remainder is summed pair by pair.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run

__all__ = ["dominance"]

_LEAF = 64
_GRAIN = 1024


@jit(fastmath={"reassoc", "contract", "nsz"})
def _remainders(
    s: Any, w: Any, ends: Any, low: Any, delta: Any, first: Any, last: Any, out: Any
) -> None:
    """Add, pair by pair, the partners beyond the last whole leaf of every prefix."""
    rate = 0.5 / delta if delta > 0 else 0.0
    for i in range(first, last):
        x = s[i]
        begin = low[i] + (ends[i] - low[i]) // _LEAF * _LEAF
        for c in range(w.shape[0]):
            total = 0.0
            if delta > 0:
                for j in range(begin, ends[i]):
                    total += w[c, j] * min(max((s[j] - x) * rate + 0.5, 0.0), 1.0)
            else:
                for j in range(begin, ends[i]):
                    total += w[c, j] if s[j] >= x else 0.0
            out[c, i] += total


@jit()
def _merge(s: Any, order: Any, spare: Any, begin: Any, middle: Any, end: Any) -> None:
    """Merge two runs of places that ascend by score."""
    i, j = begin, middle
    for at in range(begin, end):
        if j >= end or (i < middle and s[order[i]] <= s[order[j]]):
            spare[at] = order[i]
            i += 1
        else:
            spare[at] = order[j]
            j += 1
    order[begin:end] = spare[begin:end]


@jit()
def _blocks(s: Any, w: Any, ends: Any, first: Any, by_score: Any, delta: Any, out: Any) -> None:
    """Add the partners in whole blocks, level by level; all in one segment.

    ``ends`` counts from ``first`` places before it.
    """
    p = s.shape[0]
    leaves = p // _LEAF
    order = np.empty(leaves * _LEAF, np.int32)
    spare = np.empty_like(order)
    for leaf in range(leaves):
        a = leaf * _LEAF
        for i in range(a, a + _LEAF):
            j = i
            while j > a and s[order[j - 1]] > s[i]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = i
    running = np.empty((leaves + 1) * (_LEAF + 1))
    lever = np.empty_like(running)
    origin = np.empty_like(running)
    level = 0
    while (1 << level) <= leaves:
        size = _LEAF << level
        blocks = leaves >> level
        if level > 0:
            for b in range(blocks):
                _merge(s, order, spare, b * size, b * size + size // 2, (b + 1) * size)
        upper = np.empty(blocks, np.int64)
        lower = np.empty(blocks, np.int64)
        for c in range(w.shape[0]):
            for b in range(0, blocks, 2):  # an odd block is never a whole piece of a prefix
                base = b * (size + 1)
                running[base] = 0.0
                lever[base] = 0.0
                near = s[order[b * size]]
                for i in range(size):
                    j = order[b * size + i]
                    if i > 0 and s[j] - s[order[b * size + i - 1]] > 4.0 * delta:
                        near = s[j]  # too far apart to be within one reach
                    origin[base + i] = near
                    running[base + i + 1] = running[base + i] + w[c, j]
                    lever[base + i + 1] = lever[base + i] + w[c, j] * (s[j] - near)
                upper[b] = lower[b] = size
            for r in range(p - 1, -1, -1):
                i = by_score[r]
                leaf = (ends[i] - first) // _LEAF
                if (leaf >> level) & 1 == 0:
                    continue
                b = (leaf >> level) - 1
                start, base = b * size, b * (size + 1)
                x = s[i]
                hi, lo = upper[b], lower[b]
                if delta > 0:
                    while hi > 0 and s[order[start + hi - 1]] - x >= delta:
                        hi -= 1
                    lo = min(lo, hi)
                    while lo > 0 and x - s[order[start + lo - 1]] < delta:
                        lo -= 1
                    inside = running[base + hi] - running[base + lo]
                    moment = lever[base + hi] - lever[base + lo]
                    rise = 0.0
                    if lo < hi:
                        lean = moment + inside * (origin[base + lo] - x)
                        rise = lean / (2.0 * delta) + 0.5 * inside
                else:
                    while hi > 0 and s[order[start + hi - 1]] >= x:
                        hi -= 1
                    rise = 0.0
                out[c, i] += running[base + size] - running[base + hi] + rise
                upper[b], lower[b] = hi, lo
        level += 1


def dominance(
    scores: Tensor, weights: Tensor, ends: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return ``sum_j w_cj H(s_j - s_i)`` over the partners ``starts(i) <= j < ends[i]``.

    Args:
        scores: [p] float64, finite, in order of label within each segment.
        weights: [c, p] float64.
        ends: [p] int64, where the partners of each element end; never falls within a segment.
        starts: [segments + 1] int64, where the segments start.
        delta: half width of the ramp ``H``; with 0 the step that counts ties whole.

    Returns:
        [c, p] float64.
    """
    s, w, e, edges = scores.numpy(), weights.numpy(), ends.numpy(), starts.numpy()
    out = np.zeros(w.shape)
    low = np.repeat(edges[:-1], np.diff(edges))
    run(
        [
            partial(_remainders, s, w, e, low, delta, a, b, out)
            for a, b in pieces(s.shape[0], _GRAIN)
        ]
    )
    del low  # the blocks are where memory peaks
    for a, b in pairwise(edges):
        if b - a >= _LEAF:
            by_score = np.argsort(s[a:b])
            _blocks(s[a:b], w[:, a:b], e[a:b], a, by_score, delta, out[:, a:b])
    return torch.from_numpy(out)
