"""Points scaled to length one, and the gradient of that, one visit of a row each."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows

__all__ = ["LONG", "ranksim_directions", "ranksim_turn"]

LONG = 1 << 18  # elements of plain arithmetic worth a thread of their own


@jit(fastmath={"reassoc", "contract"})
def _dot(x: Any, y: Any) -> Any:
    total = 0.0
    for k in range(x.shape[0]):
        total += np.float64(x[k]) * np.float64(y[k])
    return total


@jit()
def _direct(points: Any, order: Any, units: Any, shrink: Any, start: Any, stop: Any) -> None:
    for i in range(start, stop):
        row, unit = points[order[i]], units[i]
        size = 1.0
        if row.itemsize == 8:  # magnitude one before squaring; float32 are squared as float64
            size = 0.0
            for value in row:
                size = max(size, abs(value))
        for k in range(row.shape[0]):
            unit[k] = row[k] / size if size > 0 else row[k]
        length = np.sqrt(_dot(unit, unit))
        scale = 1.0 / length if length != 0 else 0.0
        for k in range(row.shape[0]):
            unit[k] *= scale
        shrink[i, 0] = scale / size if size > 0 else 0.0


def ranksim_directions(
    points: Tensor, order: Tensor, count: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    x, places = array(points), array(order if count is None else order[: int(count)])
    shape = (order.shape[0], x.shape[1])
    make = np.empty if count is None else np.zeros
    units, shrink = make(shape, x.dtype), make((shape[0], 1), x.dtype)
    by_rows(_direct, (len(places), shape[1]), x, places, units, shrink, grain=LONG)
    return torch.from_numpy(units), torch.from_numpy(shrink)


@jit()
def _turn(pull: Any, units: Any, shrink: Any, order: Any, out: Any, start: Any, stop: Any) -> None:
    for i in range(start, stop):
        along = _dot(pull[i], units[i])
        for k in range(pull.shape[1]):
            out[order[i], k] = (pull[i, k] - along * units[i, k]) * shrink[i, 0]


def ranksim_turn(pull: Tensor, units: Tensor, shrink: Tensor, order: Tensor, n: int) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`."""
    x, places = array(pull), array(order)
    out = (np.empty if len(places) == n else np.zeros)((n, x.shape[1]), x.dtype)
    by_rows(_turn, x.shape, x, array(units), array(shrink), places, out, grain=LONG)
    return torch.from_numpy(out)
