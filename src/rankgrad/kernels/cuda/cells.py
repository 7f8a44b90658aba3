"""Sums of scores without rounding errors, however large the scores are, inside kernels.

The number line is cut into cells, a power of two wide and wider than a ramp. What is summed up is
by how much a score exceeds the lower edge of its cell, which is exact and small. All that lies
within a ramp lies in at most two neighbouring cells, whose edges are put back for the few scores in
question.
"""

import triton
import triton.language as tl

__all__ = ["cell_edge", "cell_width", "second_cell", "within_cell"]


@triton.jit
def cell_width(width):
    """Return the power of two above ``width``, at most twice as large."""
    bits = width.to(tl.int64, bitcast=True)
    return 2.0 * ((bits >> 52) << 52).to(tl.float64, bitcast=True)


@triton.jit
def cell_edge(x, cell):
    """Return the lower edge of the cell of ``x``; ``x`` itself where cells are out of range."""
    edge = tl.floor(x / cell) * cell
    return tl.where(edge - edge == 0.0, edge, x)


@triton.jit
def within_cell(x, cell):
    """Return by how much ``x`` exceeds the lower edge of its cell; of what is not finite, 0."""
    excess = x - cell_edge(x, cell)
    return tl.where(excess - excess == 0.0, excess, 0.0)


@triton.jit
def second_cell(x, begin, end, edge, cell, steps):
    """Return the first place in ``begin .. end`` of ascending ``x`` beyond the cell at ``edge``.

    A score just below the edge of a cell may round onto it, so the search asks for cells.
    """
    for step in range(steps):
        looks = begin < end
        middle = (begin + end) // 2
        here = tl.load(x + middle, mask=looks, other=0.0).to(tl.float64)
        passed = looks & (cell_edge(here, cell) <= edge)
        end = tl.where(looks & (passed == 0), middle, end)
        begin = tl.where(passed, middle + 1, begin)
    return begin
