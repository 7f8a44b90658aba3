"""Differentiable sorting networks, many rows and a few channels at a time.

A layer mixes two wires at a time. Backward needs what was on the wires before each layer: it runs
the network again, so few channels at a time that what it has to remember stays in the cache. Long
networks are cut into segments, of which only the entrances are remembered; their comparators are
worked out anew for every pass.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import pairwise as runs
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.swaps import CODES, shares, slopes
from rankgrad.kernels.cpu.wires import Wires

__all__ = ["network_apply", "network_gradient"]

_CHANNELS = 32  # mixed at once
_BLOCK = 1 << 18  # comparators whose shares are held at once, over rows
_SEGMENT = 1 << 21  # comparators of one row that backward remembers at once


@jit()
def _run_scores(
    x: Any, low: Any, high: Any, starts: Any, swap: Any, share: Any, slope: Any, gap: Any
) -> None:
    """Send scores [rows, m] through some layers; note what each comparator does."""
    one = x.dtype.type(1)
    d = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        values = x[row]
        for layer in range(starts.size - 1):
            begin, end = starts[layer], starts[layer + 1]
            for k in range(begin, end):
                d[k - begin] = np.float64(values[high[k]]) - np.float64(values[low[k]])
            shares(d, swap, share[row, begin:end])
            if slope.size > 0:
                slopes(d, swap, slope[row, begin:end])
                for k in range(begin, end):
                    gap[row, k] = -d[k - begin]
            for k in range(begin, end):
                a, b, s = values[low[k]], values[high[k]], share[row, k]
                rest = one - s
                values[low[k]] = s * a + rest * b
                values[high[k]] = rest * a + s * b


@jit(forceinline=True)
def _mix(v: Any, i: Any, j: Any, s: Any, rest: Any) -> None:
    for q in range(v.shape[1]):
        a, b = v[i, q], v[j, q]
        v[i, q] = s * a + rest * b
        v[j, q] = rest * a + s * b


@jit()
def _send(v: Any, low: Any, high: Any, share: Any, width: Any, backward: Any) -> None:
    """Send channels ``v`` [rows, m, c] through comparators, the last one first if backward."""
    rows, m, channels = v.shape
    one = v.dtype.type(1)
    count = low.shape[0]
    buffer = np.zeros((m, width), v.dtype)
    for row in range(rows):
        for at in range(0, channels, width):
            part = min(width, channels - at)
            for i in range(m):
                for q in range(part):
                    buffer[i, q] = v[row, i, at + q]
            for step in range(count):
                k = count - 1 - step if backward else step
                _mix(buffer, low[k], high[k], share[row, k], one - share[row, k])
            for i in range(m):
                for q in range(part):
                    v[row, i, at + q] = buffer[i, q]


@jit(fastmath={"reassoc", "contract"})
def _pulls(v: Any, w: Any, low: Any, high: Any, share: Any, width: Any, pull: Any) -> None:
    """Write what the channels want of each share: ``v`` goes forward, ``w`` comes back."""
    rows, m, channels = v.shape
    one = v.dtype.type(1)
    count = low.shape[0]
    ahead, behind = np.zeros((m, width), v.dtype), np.zeros((m, width), v.dtype)
    seen = np.empty((count, width), v.dtype)
    for row in range(rows):
        pull[row, :] = 0
        for at in range(0, channels, width):
            for i in range(m):
                for q in range(width):
                    inside = at + q < channels
                    ahead[i, q] = v[row, i, at + q] if inside else 0
                    behind[i, q] = w[row, i, at + q] if inside else 0
            for k in range(count):
                i, j = low[k], high[k]
                for q in range(width):
                    seen[k, q] = ahead[i, q] - ahead[j, q]
                _mix(ahead, i, j, share[row, k], one - share[row, k])
            for k in range(count - 1, -1, -1):
                i, j = low[k], high[k]
                total = pull[row, k]
                for q in range(width):
                    total += seen[k, q] * (behind[i, q] - behind[j, q])
                pull[row, k] = total
                _mix(behind, i, j, share[row, k], one - share[row, k])
            for i in range(m):
                for q in range(min(width, channels - at)):
                    w[row, i, at + q] = behind[i, q]


@jit()
def _pull_scores(h: Any, low: Any, high: Any, share: Any, slope: Any, gap: Any, pull: Any) -> None:
    """Bring the gradient of the scores ``h`` [rows, m] back through comparators."""
    one = h.dtype.type(1)
    for row in range(h.shape[0]):
        for k in range(low.shape[0] - 1, -1, -1):
            i, j, s = low[k], high[k], share[row, k]
            a, b = h[row, i], h[row, j]
            force = (pull[row, k] + gap[row, k] * (a - b)) * slope[row, k]
            h[row, i] = s * a + (one - s) * b - force
            h[row, j] = (one - s) * a + s * b + force


class _Segments:
    """The layers of one network, cut into runs; only short networks keep their wires."""

    def __init__(self, kind: str, n: int) -> None:
        self._wires = Wires(kind, n)
        starts = self._wires.starts
        self.size = int(starts[-1])
        first = np.searchsorted(starts, np.arange(0, self.size, _SEGMENT))
        edges = [*np.unique(first).tolist(), starts.size - 1]
        self._parts = list(runs(edges))
        self._kept = self._made(0) if len(self._parts) == 1 else None

    def __len__(self) -> int:
        return len(self._parts)

    def _made(self, segment: int) -> tuple[Any, Any, Any]:
        first, last = self._parts[segment]
        starts = self._wires.starts[first : last + 1]
        return *self._wires.of(first, last), starts - starts[0]

    def wires(self, segment: int) -> tuple[Any, Any, Any]:
        """Return the wires of the minima, of the maxima, and where layers start."""
        return self._made(segment) if self._kept is None else self._kept


def _run(x: Any, wires: tuple[Any, Any, Any], swap: Any, with_slopes: bool) -> tuple[Any, Any, Any]:
    """Send the scores through a segment, in place; return shares, slopes and gaps."""
    low, high, starts = wires
    shape = (x.shape[0], low.size)
    share = np.empty(shape, x.dtype)
    slope, gap = (np.empty(shape if with_slopes else (0, 0), x.dtype) for _ in range(2))
    _run_scores(x, low, high, starts, swap, share, slope, gap)
    return share, slope, gap


_segments = lru_cache(maxsize=16)(_Segments)


def _blocks(count: Tensor, kind: str) -> Iterator[tuple[int, _Segments, list[Any]]]:
    """Yield, for every length of rows, it, its network, and groups of row numbers for threads."""
    lengths = count.numpy()
    for m in np.unique(lengths).tolist():
        if m > 0:
            net = _segments(kind, m)
            rows = np.flatnonzero(lengths == m)
            most = max(1, _BLOCK // max(net.size, 1))
            parts = pieces(rows.size, max(1, 20_000 // max(net.size, 1)))
            yield (
                m,
                net,
                [[rows[at : min(at + most, b)] for at in range(a, b, most)] for a, b in parts],
            )


def _channels(v: Any, rows: Any, m: int, x: Any) -> Any:
    """Return a copy of the first ``m`` wires of some rows; without ``v``, of the identity."""
    if v is None:
        return np.repeat(np.eye(m, x.shape[1], dtype=x.dtype)[None], rows.size, axis=0)
    return v[rows, :m]


def _apply_rows(
    x: Any, v: Any, out: Any, m: int, net: _Segments, swap: Any, transposed: bool, groups: Any
) -> None:
    for rows in groups:
        scores = x[rows, :m]
        state = _channels(v, rows, m, x)
        width = min(state.shape[2], _CHANNELS)
        if not transposed:
            for segment in range(len(net)):
                wires = net.wires(segment)
                share, _, _ = _run(scores, wires, swap, False)
                _send(state, *wires[:2], share, width, False)
            out[rows, :m] = state[:, ::-1]
            continue
        state = np.ascontiguousarray(state[:, ::-1])
        entrances = [scores]
        for segment in range(len(net) - 1):
            entrances.append(entrances[-1].copy())
            _run(entrances[-1], net.wires(segment), swap, False)
        for segment in reversed(range(len(net))):
            wires = net.wires(segment)
            share, _, _ = _run(entrances[segment], wires, swap, False)
            _send(state, *wires[:2], share, width, True)
        out[rows, :m] = state


def _gradient_rows(
    x: Any, w: Any, v: Any, grad: Any, m: int, net: _Segments, swap: Any, groups: Any
) -> None:
    for rows in groups:
        entrances, states = [x[rows, :m]], [_channels(v, rows, m, x)]
        width = min(w.shape[2], _CHANNELS)
        for segment in range(len(net) - 1):
            wires = net.wires(segment)
            entrances.append(entrances[-1].copy())
            share, _, _ = _run(entrances[-1], wires, swap, False)
            states.append(states[-1].copy())
            _send(states[-1], *wires[:2], share, width, False)
        back = np.ascontiguousarray(w[rows, :m][:, ::-1])
        h = np.zeros_like(entrances[0])
        for segment in reversed(range(len(net))):
            wires = net.wires(segment)
            share, slope, gap = _run(entrances[segment], wires, swap, True)
            pull = np.empty_like(share)
            low, high, _ = wires
            _pulls(states[segment], back, low, high, share, width, pull)
            _pull_scores(h, low, high, share, slope, gap, pull)
        grad[rows, :m] = h


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
    """Return ``P v``, or ``P' v``: [rows, n, c] -> [rows, n, c]; ``P`` itself without ``v``.

    ``P`` is the relaxed permutation matrix, largest first, of the first ``count`` of the scores
    ``x`` [rows, n]; what is behind them is zero.
    """
    scores, given = array(x), array(v)
    swap = CODES[distribution], steepness, art
    channels = x.shape[1] if given is None else given.shape[2]
    out = np.zeros((*scores.shape, channels), scores.dtype)
    for m, net, groups in _blocks(count, kind):
        work = partial(_apply_rows, scores, given, out, m, net, swap, transposed)
        run([partial(work, group) for group in groups])
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
    scores, weights, given = array(x), array(w), array(v)
    swap = CODES[distribution], steepness, art
    grad = np.zeros_like(scores)
    for m, net, groups in _blocks(count, kind):
        work = partial(_gradient_rows, scores, weights, given, grad, m, net, swap)
        run([partial(work, group) for group in groups])
    return torch.from_numpy(grad)
