"""Differentiable sorting networks: all layers in one go, row by row.

A layer mixes two wires at a time. Backward needs what was on the wires before each layer: it runs
the network again, a few channels at a time, so that what it has to remember stays in the cache.
Long networks are cut into segments, of which only the entrances are remembered.
"""

from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.swaps import CODES, shares, slopes
from rankgrad.kernels.reference.network import comparators

__all__ = ["network_apply", "network_gradient"]

_CHANNELS = 32  # mixed at once
_SEGMENT = 1 << 21  # comparators that backward remembers at once


@lru_cache(maxsize=64)
def _wires(kind: str, n: int) -> tuple[Any, Any, Any]:
    """Return lower wires, upper wires, and where each layer starts."""
    layers = comparators(kind, n)
    low = np.array([i for lower, _ in layers for i in lower], np.int32)
    high = np.array([i for _, upper in layers for i in upper], np.int32)
    return low, high, np.cumsum([0] + [len(lower) for lower, _ in layers])


@jit()
def _run_scores(
    x: Any, wires: Any, part: Any, swap: Any, share: Any, slope: Any, gap: Any, d: Any
) -> None:
    """Send the scores through the layers of one part and note what each comparator does."""
    low, high, starts = wires
    one = x.dtype.type(1)
    base = starts[part[0]]
    for layer in range(part[0], part[1]):
        first, last = starts[layer], starts[layer + 1]
        for k in range(first, last):
            d[k - first] = np.float64(x[high[k]]) - np.float64(x[low[k]])
        shares(d, swap, share[first - base : last - base])
        if slope.size > 0:
            slopes(d, swap, slope[first - base : last - base])
            for k in range(first, last):
                gap[k - base] = -d[k - first]
        for k in range(first, last):
            a, b, s = x[low[k]], x[high[k]], share[k - base]
            rest = one - s
            x[low[k]] = s * a + rest * b
            x[high[k]] = rest * a + s * b


@jit(forceinline=True)
def _mix(v: Any, i: Any, j: Any, s: Any, rest: Any) -> None:
    for q in range(v.shape[1]):
        a, b = v[i, q], v[j, q]
        v[i, q] = s * a + rest * b
        v[j, q] = rest * a + s * b


@jit()
def _forward(v: Any, wires: Any, part: Any, share: Any) -> None:
    low, high, starts = wires
    one = v.dtype.type(1)
    base = starts[part[0]]
    for k in range(base, starts[part[1]]):
        _mix(v, low[k], high[k], share[k - base], one - share[k - base])


@jit()
def _backward(v: Any, wires: Any, part: Any, share: Any) -> None:
    low, high, starts = wires
    one = v.dtype.type(1)
    base = starts[part[0]]
    for k in range(starts[part[1]] - 1, base - 1, -1):
        _mix(v, low[k], high[k], share[k - base], one - share[k - base])


@jit(fastmath={"reassoc", "contract"})
def _pulls(v: Any, w: Any, wires: Any, part: Any, share: Any, pull: Any, seen: Any) -> None:
    """Add to ``pull`` what these channels want of each share: ``v`` forward, then ``w`` back."""
    low, high, starts = wires
    one = v.dtype.type(1)
    base, end = starts[part[0]], starts[part[1]]
    for k in range(base, end):
        i, j, at = low[k], high[k], k - base
        for q in range(v.shape[1]):
            seen[at, q] = v[i, q] - v[j, q]
        _mix(v, i, j, share[at], one - share[at])
    for k in range(end - 1, base - 1, -1):
        i, j, at = low[k], high[k], k - base
        total = pull[at]
        for q in range(v.shape[1]):
            total += seen[at, q] * (w[i, q] - w[j, q])
        pull[at] = total
        _mix(w, i, j, share[at], one - share[at])


@jit()
def _pull_scores(
    h: Any, wires: Any, part: Any, share: Any, slope: Any, gap: Any, pull: Any
) -> None:
    """Bring the gradient of the scores back through the layers of one part."""
    low, high, starts = wires
    one = h.dtype.type(1)
    base = starts[part[0]]
    for k in range(starts[part[1]] - 1, base - 1, -1):
        i, j, at = low[k], high[k], k - base
        s, a, b = share[at], h[i], h[j]
        force = (pull[at] + gap[at] * (a - b)) * slope[at]
        h[i] = s * a + (one - s) * b - force
        h[j] = (one - s) * a + s * b + force


@jit()
def _load(buffer: Any, v: Any, at: Any, flip: Any) -> None:
    """Copy the channels from ``at`` on of one row; no ``v`` stands for the identity."""
    m = buffer.shape[0]
    for i in range(m):
        for q in range(buffer.shape[1]):
            wire = m - 1 - i if flip else i
            if v is None:
                buffer[i, q] = 1 if wire == at + q else 0
            elif at + q < v.shape[1]:
                buffer[i, q] = v[wire, at + q]
            else:
                buffer[i, q] = 0


@jit()
def _store(out: Any, buffer: Any, at: Any, flip: Any) -> None:
    m = buffer.shape[0]
    for i in range(m):
        for q in range(min(buffer.shape[1], out.shape[1] - at)):
            out[m - 1 - i if flip else i, at + q] = buffer[i, q]


@jit()
def _entrances(x: Any, entry: Any, wires: Any, edges: Any, swap: Any, share: Any, d: Any) -> None:
    """Write what the scores are where each segment begins."""
    none = np.empty(0, x.dtype)
    entry[0] = x
    for seg in range(len(edges) - 2):
        entry[seg + 1] = entry[seg]
        part = (edges[seg], edges[seg + 1])
        _run_scores(entry[seg + 1], wires, part, swap, share, none, none, d)


@jit()
def _apply_rows(
    x: Any, rows: Any, m: Any, v: Any, out: Any, wires: Any, edges: Any, longest: Any, swap: Any,
    width: Any, transposed: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    segments, channels = len(edges) - 1, out.shape[2]
    none, share, d = np.empty(0, x.dtype), np.empty(longest, x.dtype), np.empty(m)
    entry = np.empty((segments, m), x.dtype)
    buffer = np.empty((m, width), x.dtype)
    for task in range(start, stop):
        row = rows[task]
        _entrances(x[row, :m], entry, wires, edges, swap, share, d)
        for step in range(segments):
            seg = segments - 1 - step if transposed else step
            part = (edges[seg], edges[seg + 1])
            _run_scores(entry[seg], wires, part, swap, share, none, none, d)
            for at in range(0, channels, width):
                if step > 0:
                    _load(buffer, out[row], at, False)
                elif v is None:
                    _load(buffer, None, at, transposed)
                else:
                    _load(buffer, v[row], at, transposed)
                if transposed:
                    _backward(buffer, wires, part, share)
                else:
                    _forward(buffer, wires, part, share)
                _store(out[row], buffer, at, step == segments - 1 and not transposed)


@jit()
def _gradient_rows(
    x: Any, rows: Any, m: Any, w: Any, v: Any, grad: Any, wires: Any, edges: Any, longest: Any,
    swap: Any, width: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    segments, channels = len(edges) - 1, w.shape[2]
    share, slope = np.empty(longest, x.dtype), np.empty(longest, x.dtype)
    gap, pull = np.empty(longest, x.dtype), np.empty(longest, x.dtype)
    seen = np.empty((longest, width), x.dtype)
    entry = np.empty((segments, m), x.dtype)
    v_entry = np.empty((segments - 1, m, channels), x.dtype)
    back = np.empty((m, channels), x.dtype)
    ahead, behind = np.empty((m, width), x.dtype), np.empty((m, width), x.dtype)
    none, d = np.empty(0, x.dtype), np.empty(m)
    for task in range(start, stop):
        row = rows[task]
        _entrances(x[row, :m], entry, wires, edges, swap, share, d)
        for seg in range(segments - 1):  # where the channels are when each segment begins
            part = (edges[seg], edges[seg + 1])
            scores = entry[seg].copy()
            _run_scores(scores, wires, part, swap, share, none, none, d)
            for at in range(0, channels, width):
                if seg > 0:
                    _load(ahead, v_entry[seg - 1], at, False)
                elif v is None:
                    _load(ahead, None, at, False)
                else:
                    _load(ahead, v[row], at, False)
                _forward(ahead, wires, part, share)
                _store(v_entry[seg], ahead, at, False)
        h = np.zeros(m, x.dtype)
        for seg in range(segments - 1, -1, -1):
            part = (edges[seg], edges[seg + 1])
            _run_scores(entry[seg], wires, part, swap, share, slope, gap, d)
            pull[:] = 0
            for at in range(0, channels, width):
                if seg > 0:
                    _load(ahead, v_entry[seg - 1], at, False)
                elif v is None:
                    _load(ahead, None, at, False)
                else:
                    _load(ahead, v[row], at, False)
                if seg == segments - 1:
                    _load(behind, w[row], at, True)
                else:
                    _load(behind, back, at, False)
                _pulls(ahead, behind, wires, part, share, pull, seen)
                _store(back, behind, at, False)
            _pull_scores(h, wires, part, share, slope, gap, pull)
        grad[row, :m] = h


def _plan(x: Any, count: Tensor, kind: str) -> Any:
    """Yield, for every row length there is: it, its rows, wires, segments, the longest segment."""
    lengths = count.numpy()
    for m in np.unique(lengths):
        if m > 0:
            wires = _wires(kind, int(m))
            starts = wires[2]
            cuts = np.unique(np.searchsorted(starts, np.arange(0, starts[-1], _SEGMENT)))
            edges = np.concatenate(
                ([0], cuts[(cuts > 0) & (cuts < starts.size - 1)], [starts.size - 1])
            )
            longest = int(np.diff(starts[edges]).max(initial=0))
            rows = np.flatnonzero(lengths == m)
            grain = max(1, 20_000 // max(int(starts[-1]), 1))
            yield int(m), rows, wires, edges, longest, pieces(rows.size, grain)


def network_apply(
    x: Tensor,
    count: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
    transposed: bool,
) -> Tensor:
    """Return ``P v``, or ``P' v``: [rows, n, c] -> [rows, n, c]; None stands for the identity.

    ``P`` is the relaxed permutation matrix, largest first, of the first ``count`` of the scores
    ``x`` [rows, n]; what is behind them is zero.
    """
    scores, swap = x.contiguous().numpy(), (CODES[distribution], steepness, art)
    given = None if v is None else v.contiguous().numpy()
    channels = x.shape[1] if given is None else given.shape[2]
    out = np.zeros((*scores.shape, channels), scores.dtype)
    width = min(channels, _CHANNELS)
    for m, rows, wires, edges, longest, parts in _plan(scores, count, kind):
        run(
            [
                partial(
                    _apply_rows,
                    scores,
                    rows,
                    m,
                    given,
                    out,
                    wires,
                    edges,
                    longest,
                    swap,
                    width,
                    transposed,
                    a,
                    b,
                )
                for a, b in parts
            ]
        )
    return torch.from_numpy(out)


def network_gradient(
    x: Tensor,
    count: Tensor,
    w: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
) -> Tensor:
    """Return the gradient of ``sum(w * (P v))`` for ``x``; see :func:`network_apply`."""
    scores, swap = x.contiguous().numpy(), (CODES[distribution], steepness, art)
    weights = w.contiguous().numpy()
    given = None if v is None else v.contiguous().numpy()
    grad = np.zeros_like(scores)
    width = min(weights.shape[2], _CHANNELS)
    for m, rows, wires, edges, longest, parts in _plan(scores, count, kind):
        run(
            [
                partial(
                    _gradient_rows,
                    scores,
                    rows,
                    m,
                    weights,
                    given,
                    grad,
                    wires,
                    edges,
                    longest,
                    swap,
                    width,
                    a,
                    b,
                )
                for a, b in parts
            ]
        )
    return torch.from_numpy(grad)
