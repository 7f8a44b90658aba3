"""Hard ranks of the rows of a matrix: one sort, then one walk over it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.sorting import sort_row

__all__ = ["hard_rank"]

_TIES = {"ordinal": 0, "average": 1, "min": 2, "max": 3, "dense": 4}


@jit()
def _rank_rows(
    x: Any, mask: Any, descending: Any, ties: Any, normalize: Any, out: Any, start: Any, stop: Any
) -> None:
    n = x.shape[1]
    order = np.empty(n, np.int64)
    for row in range(start, stop):
        valid = 0
        broken = False
        for i in range(n):
            if mask is None or mask[row, i]:
                valid += 1
                broken |= x[row, i] != x[row, i]
        if broken:
            for i in range(n):
                out[row, i] = np.nan if mask is None or mask[row, i] else 0.0
            continue
        sort_row(x[row], order, descending)
        seen = 0  # valid elements before the current run of equal ones
        distinct = 0
        at = 0
        while at < n:
            value = x[row, order[at]]
            end = at
            length = 0
            while end < n and (x[row, order[end]] == value or end == at):
                i = order[end]
                if mask is None or mask[row, i]:
                    length += 1
                    if ties == 0:
                        out[row, i] = seen + length
                else:
                    out[row, i] = 0.0
                end += 1
            if length > 0:
                distinct += 1
                if ties != 0:
                    if ties == 1:
                        shared = seen + 0.5 * (length + 1)
                    elif ties == 2:
                        shared = seen + 1.0
                    elif ties == 3:
                        shared = float(seen + length)
                    else:
                        shared = float(distinct)
                    for j in range(at, end):
                        i = order[j]
                        if mask is None or mask[row, i]:
                            out[row, i] = shared
            seen += length
            at = end
        if normalize:
            count = distinct if ties == 4 else valid
            for i in range(n):
                out[row, i] /= max(count, 1)


def hard_rank(
    x: Tensor, mask: Tensor | None, descending: bool, ties: str, normalize: bool
) -> Tensor:
    """Return the ranks of the valid elements of each row of ``x`` [rows, n]; 0 where masked."""
    values = array(x)
    out = np.empty_like(values)
    by_rows(
        _rank_rows, values.shape, values, array(mask), descending, _TIES[ties], normalize, out
    )  # fmt: skip
    return torch.from_numpy(out)
