"""Distances of all pairs of rows, and forces along them: exact for near rows too, and in tiles."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows, pieces, run

__all__ = ["contrast_vjp", "distances"]

_TILE = 16  # rows of a tile: of 512 float32 each, they fit into the first cache


@jit(fastmath={"reassoc", "contract"})
def _square(a: Any, b: Any) -> Any:
    total = a.dtype.type(0)
    for k in range(a.shape[0]):
        total += (a[k] - b[k]) * (a[k] - b[k])
    return total


@jit()
def _fill(x: Any, out: Any, first: Any, every: Any) -> None:
    """Write every so many rows of tiles of the upper half, and their mirror images."""
    n = x.shape[0]
    for a in range(first * _TILE, n, every * _TILE):
        for b in range(a, n, _TILE):
            for i in range(a, min(a + _TILE, n)):
                for j in range(max(b, i + 1), min(b + _TILE, n)):
                    out[i, j] = np.sqrt(_square(x[i], x[j]))
            for j in range(b, min(b + _TILE, n)):
                for i in range(a, min(a + _TILE, j)):
                    out[j, i] = out[i, j]


def distances(points: Tensor) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.contrast`."""
    x = array(points)
    n, d = x.shape
    out = np.zeros((n, n), x.dtype)
    parts = len(pieces(n * n * d, 1 << 18, 4))
    run([partial(_fill, x, out, first, parts) for first in range(parts)])
    return torch.from_numpy(out)


@jit(fastmath={"contract"})
def _forces(grad: Any, slope: Any, distance: Any, a: Any, b: Any, out: Any) -> None:
    """Write a tile of forces over distances, which belong to the anchors on both sides."""
    n = slope.shape[0]
    for j in range(b, min(b + _TILE, n)):
        for i in range(a, min(a + _TILE, n)):
            out[i - a, j - b] = grad[j] * slope[j, i]
    for i in range(a, min(a + _TILE, n)):
        for j in range(b, min(b + _TILE, n)):
            pull = out[i - a, j - b] + grad[i] * slope[i, j]
            out[i - a, j - b] = pull / distance[i, j] if distance[i, j] != 0 else 0


@jit(fastmath={"contract"})
def _pull(
    grad: Any, slope: Any, distance: Any, x: Any, out: Any, start: Any, stop: Any
) -> None:  # fmt: skip
    n, d = x.shape
    force = np.empty((_TILE, _TILE), x.dtype)
    for a in range(start, stop, _TILE):
        for b in range(0, n, _TILE):
            _forces(grad, slope, distance, a, b, force)
            end = min(b + _TILE, n)
            for i in range(a, min(a + _TILE, stop)):
                here, to, f = x[i], out[i], force[i - a]
                j = b
                while j + 4 <= end:
                    u, v, w, z = x[j], x[j + 1], x[j + 2], x[j + 3]
                    p, q, r, s = f[j - b], f[j - b + 1], f[j - b + 2], f[j - b + 3]
                    for k in range(d):
                        near = p * (here[k] - u[k]) + q * (here[k] - v[k])
                        to[k] += near + (r * (here[k] - w[k]) + s * (here[k] - z[k]))
                    j += 4
                while j < end:
                    u, p = x[j], f[j - b]
                    for k in range(d):
                        to[k] += p * (here[k] - u[k])
                    j += 1


def contrast_vjp(grad: Tensor, slope: Tensor, distance: Tensor, points: Tensor) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.contrast`."""
    x = array(points)
    out = np.zeros_like(x)
    by_rows(_pull, (x.shape[0], x.size), array(grad), array(slope), array(distance), x, out)
    return torch.from_numpy(out)
