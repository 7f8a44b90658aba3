"""Sifting: which of a block of logits are negatives that reach a positive, and their cells."""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.grid import cell_of
from rankgrad.kernels.cpu.jit import jit

__all__ = ["BLOCK", "sift"]

BLOCK = 2048  # logits sifted at once; what passes stays in the first-level cache


@jit()
def _mark(x: Any, t: Any, floor: Any, passes: Any) -> None:
    for i in range(x.shape[0]):  # a loop over plain slices: it runs in vectors
        passes[i] = (t[i] == 0) & (not x[i] < floor)


@jit()
def _cells(x: Any, low: Any, rate: Any, room: Any, cell: Any, over: Any) -> None:
    for i in range(x.shape[0]):  # plain slices again
        z = (np.float64(x[i]) - low) * rate
        c = cell_of(z, room)
        over[i] = z - c
        cell[i] = c


@jit()
def _cells_of(x: Any, kept: Any, low: Any, rate: Any, room: Any, cell: Any, over: Any) -> None:
    for i in range(kept.shape[0]):
        z = (np.float64(x[kept[i]]) - low) * rate
        c = cell_of(z, room)
        over[i] = z - c
        cell[i] = c


@jit()
def sift(
    logits: Any, targets: Any, groups: Any, floors: Any, low: Any, rate: Any, cells: Any,
    first: Any, last: Any, passes: Any, kept: Any, cell: Any, over: Any,
) -> Any:  # fmt: skip
    """Write the places of the negatives that reach a positive, and their cells; return how many.

    ``over`` is by how much they exceed the lower edge of their cell, in widths of a cell.
    A NaN passes, so that it is noticed. ``groups`` is the segment of each logit, negative for
    those without a positive, or None.
    """
    if groups is None:
        floor = type(logits[0])(floors[0])
        if floor > floors[0]:  # rounded up: let one more pass rather than lose it
            floor = np.nextafter(floor, type(floor)(-np.inf))
        _mark(logits[first:last], targets[first:last], floor, passes)
    else:
        for i in range(last - first):
            g = groups[first + i]
            passes[i] = (
                (g >= 0) & (targets[first + i] == 0) & (not logits[first + i] < floors[max(g, 0)])
            )
    count = 0
    for i in range(last - first):
        kept[count] = first + i
        count += passes[i]
    if groups is None:
        x, room = logits[first:last], cells[1] - 1
        if count == last - first:
            _cells(x, low[0], rate[0], room, cell, over)
        else:
            _cells_of(logits, kept[:count], low[0], rate[0], room, cell, over)
        return count
    for i in range(count):
        g = groups[kept[i]]
        z = (np.float64(logits[kept[i]]) - low[g]) * rate[g]
        c = cell_of(z, cells[g + 1] - cells[g] - 1)
        over[i] = z - c
        cell[i] = c + cells[g]
    return count
