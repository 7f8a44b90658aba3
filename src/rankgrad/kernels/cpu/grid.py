"""A lookup from a score to its place among sorted knots, mostly without a search."""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit

__all__ = ["Grid", "cell_of", "search"]

_CELLS = 8  # grid cells a knot, fewer where there are few logits for each: cells are memory


@jit()
def cell_of(z: Any, cells: Any) -> Any:
    """Return the cell at ``z`` widths above the lowest, cut to those there are; 0 for NaN."""
    z = min(max(z, 0.0), cells - 1.0)
    return np.int32(z if z == z else 0.0)


@jit()
def _fill_cells(
    knots: Any, starts: Any, cell_starts: Any, low: Any, rate: Any, before: Any, mixed: Any
) -> None:
    """Lay a grid over each segment's knots, and say what lies before and inside each cell."""
    for g in range(low.shape[0]):
        a, b = starts[g], starts[g + 1]
        cells = cell_starts[g + 1] - cell_starts[g] - 1
        first, last = a, b - 1
        while first < last and np.isinf(knots[first]):
            first += 1
        while last > first and np.isinf(knots[last]):
            last -= 1
        low[g] = knots[first] if b > a and np.isfinite(knots[first]) else 0.0
        width = knots[last] - low[g] if b > a and np.isfinite(knots[last]) else 0.0
        # One cell stays free above the last knot: most of what lies there is far above it.
        rate[g] = (cells - 2) / width if width > 0 else 0.0
        if not np.isfinite(rate[g]):
            rate[g] = 0.0
        at = a
        for c in range(cells):
            begin = at
            while at < b and cell_of((knots[at] - low[g]) * rate[g], cells) <= c:
                at += 1
            before[cell_starts[g] + c] = begin
            mixed[cell_starts[g] + c] = at > begin
        before[cell_starts[g] + cells] = at


class Grid:
    """A lookup from a score to its bin: how many knots of its segment lie at or below it.

    The range of the knots is cut into equal cells. Scores of a cell without a knot share a bin, so
    that their cell says all; in a mixed cell the knots are searched.

    Attributes:
        low, rate: [segments] the cell of ``x`` is ``(x - low) * rate``, cut to the cells there are.
        cells: [segments + 1] where the cells of each segment start.
        before: [cells] the knots before each cell, counted over all segments.
        mixed: [cells] whether a knot lies in the cell.
    """

    def __init__(self, knots: Any, starts: Any, logits: int) -> None:
        segments = starts.shape[0] - 1
        per_knot = min(_CELLS, max(1, logits // (4 * max(knots.shape[0], 1))))
        self.cells = np.concatenate(([0], np.cumsum(np.diff(starts) * per_knot + 4)))
        self.low = np.empty(segments)
        self.rate = np.empty(segments)
        self.before = np.empty(self.cells[-1], np.int32)
        self.mixed = np.zeros(self.cells[-1], np.bool_)
        _fill_cells(knots, starts, self.cells, self.low, self.rate, self.before, self.mixed)


@jit()
def search(x: Any, knots: Any, begin: Any, end: Any) -> Any:
    """Return the first place in ``begin .. end`` whose knot lies above ``x``."""
    while begin < end:
        middle = (begin + end) >> 1
        if knots[middle] <= x:
            begin = middle + 1
        else:
            end = middle
    return begin
