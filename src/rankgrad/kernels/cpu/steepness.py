"""The standard deviation that SoDeep's handcrafted sorter divides by."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows

__all__ = ["deviation", "pair_deviation"]


@jit()
def deviation(x: Any, mask: Any, row: Any, gap: Any) -> Any:
    """Return a valid score of a row and the deviation of its pairs; ``gap`` is room for a row."""
    m, first, size = 0, 0.0, 0.0
    for i in range(x.shape[1]):
        value = np.float64(x[row, i])
        if (mask is None or mask[row, i]) and np.isfinite(value):
            if m == 0:
                first = value
            gap[m] = value - first
            size = max(size, abs(gap[m]))
            m += 1
    mean = 0.0
    for k in range(m):
        gap[k] /= size if size > 0 else 1.0
        mean += gap[k] / m
    total = squares = 0.0
    for k in range(m):
        centred = gap[k] - mean
        total += centred * (m - 1 - 2 * k)
        squares += centred * centred
    cells = np.float64(m) * m
    spread = max(m * squares - total * total / max(cells, 1.0), 0.0)
    return first, size * np.sqrt(spread / max(cells - 1.0, 1.0))


@jit()
def _rows(x: Any, mask: Any, origin: Any, out: Any, start: Any, stop: Any) -> None:
    gap = np.empty(x.shape[1])
    for row in range(start, stop):
        origin[row, 0], out[row, 0] = deviation(x, mask, row, gap)


def pair_deviation(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.steepness`."""
    values = array(x)
    origin, out = np.empty((len(values), 1)), np.empty((len(values), 1))
    by_rows(_rows, values.shape, values, array(mask), origin, out)
    return torch.from_numpy(origin), torch.from_numpy(out)
