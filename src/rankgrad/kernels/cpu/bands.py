"""The matrix of a sort as a band: its columns in order, and where its rows are not zero.

Elements whose products would leave the range of normal numbers slow arithmetic down a hundredfold
on some processors. The tiny ones are taken as zero.
"""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit

__all__ = ["ROWS", "columns_by_peaks", "copy_band", "room"]

ROWS = 4  # that go together
_COLUMNS = 16
_FURTHER = 64  # columns to look for what a row has more than the row before


@jit(forceinline=True)
def _padded(n: Any, block: Any) -> Any:
    return (n + block - 1) // block * block


@jit()
def room(n: Any, like: Any) -> Any:
    """Return a band of padded size, where its rows begin and end, and the order of its columns."""
    rows, columns = _padded(n, ROWS), _padded(n, _COLUMNS)
    low, high = np.zeros(rows // ROWS, np.int64), np.zeros(rows // ROWS, np.int64)
    # An index without a sign needs no look whether it is negative.
    return np.zeros((rows, columns), like.dtype), low, high, np.empty(n, np.uint64)


@jit(forceinline=True)
def _highest(row: Any, i: Any, best: Any, at: Any) -> None:
    for j in range(row.shape[0]):
        higher = row[j] > best[j]
        best[j] = row[j] if higher else best[j]
        at[j] = i if higher else at[j]


@jit()
def columns_by_peaks(matrix: Any, order: Any) -> None:
    """Write the order of the columns: by the rows of their largest elements."""
    n = matrix.shape[0]
    best, at = np.zeros(n, matrix.dtype), np.zeros(n, np.int32)
    for i in range(n):
        _highest(matrix[i], np.int32(i), best, at)
    start = np.zeros(n + 1, np.int64)
    for j in range(n):
        start[at[j] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    for j in range(n):
        order[start[at[j]]] = j
        start[at[j]] += 1


@jit(forceinline=True)
def _counted(given: Any, tiny: Any) -> Any:
    count = np.int32(0)
    for j in range(given.shape[0]):
        count += np.int32(not (abs(given[j]) < tiny))  # a NaN is there
    return count


@jit(forceinline=True)
def _taken(given: Any, order: Any, tiny: Any, row: Any) -> Any:
    """Write the elements at these places, and return how many there are."""
    count = np.int32(0)
    for k in range(order.shape[0]):
        share = given[order[k]]
        there = not (abs(share) < tiny)
        row[k] = share if there else row.dtype.type(0)
        count += np.int32(there)
    return count


@jit()
def _copy_row(given: Any, order: Any, tiny: Any, start: Any, stop: Any, row: Any) -> Any:
    """Write a row from somewhere to somewhere, with all that is not zero; return from and to.

    It begins with the places of the row before.
    """
    n = order.shape[0]
    wanted = _counted(given, tiny)
    found = _taken(given, order[start:stop], tiny, row[start:stop])
    while found < wanted and stop < n:
        further = min(stop + _FURTHER, n)
        found += _taken(given, order[stop:further], tiny, row[stop:further])
        stop = further
    while found < wanted:
        further = max(start - _FURTHER, 0)
        found += _taken(given, order[further:start], tiny, row[further:start])
        start = further
    return start, stop


@jit()
def copy_band(matrix: Any, order: Any, tiny: Any, band: Any, low: Any, high: Any) -> None:
    """Write the band, and for so many rows each where it begins and ends.

    The columns there are whole blocks; elsewhere nothing is written.
    """
    n = matrix.shape[0]
    start = stop = 0
    begins, ends = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    for part in range(low.shape[0]):
        first, last = n, 0
        base = part * ROWS
        count = min(ROWS, n - base)
        for k in range(count):
            row = band[base + k]
            start, stop = _copy_row(matrix[base + k], order, tiny, start, stop, row)
            begins[k], ends[k] = start, stop
            while start < stop and row[start] == 0:
                start += 1
            while stop > start and row[stop - 1] == 0:
                stop -= 1
            if start < stop:
                first, last = min(first, start), max(last, stop)
        if first >= last:
            first = last = 0
        low[part], high[part] = first // _COLUMNS * _COLUMNS, _padded(last, _COLUMNS)
        for k in range(count):
            row = band[base + k]
            row[low[part] : max(low[part], begins[k])] = 0
            row[min(high[part], ends[k]) : high[part]] = 0
