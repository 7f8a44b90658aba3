"""The sum of the products of pairs of vectors: a matrix, four rows and four products at a time."""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit

__all__ = ["FOUR", "room_for_pairs", "sum_of_products"]

FOUR = 4
_COLUMNS = 16  # loops over whole blocks leave nothing over
_BLOCK = 512  # columns, so that the vectors along them stay in the nearest caches


@jit()
def room_for_pairs(count: Any, n: Any, like: Any) -> Any:
    """Return zeros, padded, for so many vectors of ``n`` down the matrix and across it."""
    count, rows = (count + FOUR - 1) // FOUR * FOUR, (n + FOUR - 1) // FOUR * FOUR
    columns = (n + _COLUMNS - 1) // _COLUMNS * _COLUMNS
    return np.zeros((count, rows), like.dtype), np.zeros((count, columns), like.dtype)


@jit(forceinline=True, fastmath={"contract"})
def _add(
    down: Any, k: Any, i: Any, p: Any, q: Any, r: Any, s: Any, one: Any, two: Any, three: Any,
    four: Any,
) -> None:  # fmt: skip
    a1, b1, c1, d1 = down[k, i], down[k + 1, i], down[k + 2, i], down[k + 3, i]
    a2, b2, c2, d2 = down[k, i + 1], down[k + 1, i + 1], down[k + 2, i + 1], down[k + 3, i + 1]
    a3, b3, c3, d3 = down[k, i + 2], down[k + 1, i + 2], down[k + 2, i + 2], down[k + 3, i + 2]
    a4, b4, c4, d4 = down[k, i + 3], down[k + 1, i + 3], down[k + 2, i + 3], down[k + 3, i + 3]
    for j in range(one.shape[0]):
        one[j] = (((one[j] + a1 * p[j]) + b1 * q[j]) + c1 * r[j]) + d1 * s[j]
        two[j] = (((two[j] + a2 * p[j]) + b2 * q[j]) + c2 * r[j]) + d2 * s[j]
        three[j] = (((three[j] + a3 * p[j]) + b3 * q[j]) + c3 * r[j]) + d3 * s[j]
        four[j] = (((four[j] + a4 * p[j]) + b4 * q[j]) + c4 * r[j]) + d4 * s[j]


@jit()
def sum_of_products(down: Any, across: Any, out: Any, start: Any, stop: Any) -> None:
    """Write ``sum_k down_ki across_kj`` for rows from four times ``start`` to four times ``stop``.

    The number of pairs and the lengths of the vectors are what :func:`room_for_pairs` made them.
    """
    n = out.shape[0]
    sums = np.empty((FOUR, min(across.shape[1], _BLOCK)), out.dtype)
    for part in range(start, stop):
        i = part * FOUR
        for low in range(0, across.shape[1], _BLOCK):
            high = min(low + _BLOCK, across.shape[1])
            one, two = sums[0, : high - low], sums[1, : high - low]
            three, four = sums[2, : high - low], sums[3, : high - low]
            sums[:] = 0
            for k in range(0, down.shape[0], FOUR):
                _add(
                    down, k, i, across[k, low:high], across[k + 1, low:high],
                    across[k + 2, low:high], across[k + 3, low:high], one, two, three, four,
                )  # fmt: skip
            high = min(high, n)
            for k in range(min(FOUR, n - i)):
                out[i + k, low:high] = sums[k, : high - low]
