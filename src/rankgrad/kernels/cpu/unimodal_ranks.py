"""Ranks by SoftSort and NeuralSort: one sort and a few passes a row, no matrix.

The valid scores of a row are sorted. Infinite ones among them are blocks of their own at either
end, whose members share its places evenly; the formulas see the finite scores in between.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu import neuralsort_parts
from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.neuralsort import neuralsort_ranks, neuralsort_ranks_vjp
from rankgrad.kernels.cpu.parallel import by_rows
from rankgrad.kernels.cpu.softsort import softsort_ranks, softsort_ranks_vjp
from rankgrad.kernels.cpu.sorted_rows import in_order, put_back, sort_valid, take_valid

__all__ = ["GRAIN", "in_parts", "unimodal_ranks", "unimodal_ranks_vjp", "work"]

GRAIN = 16384  # elements' worth of work that are worth a thread of their own


def work(neural: bool, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many rows there are and how many elements' worth of work each is, about."""
    rows, n = shape
    return rows, n * min(n, 64) if neural else n


def in_parts(neural: bool, n: int) -> bool:
    """Whether rows are so long that each is worth several threads."""
    return neural and n >= neuralsort_parts.LONG


@jit()
def _put_ranks(order: Any, m: Any, low: Any, high: Any, mass: Any, rank: Any, out: Any) -> None:
    """Bring the ranks to where the scores came from; those of infinite scores are known."""
    for k in range(m):
        if low < 0:
            mass[k], rank[k] = 1.0, np.nan
        elif k < low:
            mass[k], rank[k] = 1.0, 0.5 * (low + 1)
        elif k >= high:
            mass[k], rank[k] = 1.0, 0.5 * (high + m + 1)
        out[order[k]] = rank[k]
    for k in range(m, order.shape[0]):
        mass[k], rank[k] = 1.0, 0.0
        out[~order[k]] = 0.0


@jit()
def _ranks_rows(
    x: Any, mask: Any, neural: Any, temperature: Any, renormalize: Any, out: Any, order: Any,
    state: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    y = np.empty(x.shape[1])
    for row in range(start, stop):
        m, low, high = sort_valid(x, mask, row, order[row], y)
        mass, rank = state[row, 0], state[row, 1]
        if low < high:
            inner, its_mass, its_rank = y[low:high], mass[low:high], rank[low:high]
            if neural:
                neuralsort_ranks(inner, low, temperature, renormalize, its_mass, its_rank)
            else:
                softsort_ranks(inner, low, temperature, renormalize, its_mass, its_rank)
        _put_ranks(order[row], m, low, high, mass, rank, out[row])


def unimodal_ranks(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float, renormalize: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    values, flags, neural = array(x), array(mask), kind == "neuralsort"
    rows, n = values.shape
    out, order = np.empty_like(values), np.empty(values.shape, np.int64)
    state = np.empty((rows, 2, n))
    if not in_parts(neural, n):
        by_rows(
            _ranks_rows, work(neural, values.shape), values, flags, neural, temperature,
            renormalize, out, order, state, grain=GRAIN,
        )  # fmt: skip
    else:
        y = np.empty(n)
        for row in range(rows):
            m, low, high = sort_valid(values, flags, row, order[row], y)
            if low < high:
                found = state[row, :, low:high]
                neuralsort_parts.neuralsort_ranks(
                    y[low:high], low, temperature, renormalize, *found
                )
            _put_ranks(order[row], m, low, high, *state[row], out[row])
    return torch.from_numpy(out), torch.from_numpy(order), torch.from_numpy(state)


@jit()
def _ranks_vjp_rows(
    grad: Any, x: Any, order: Any, state: Any, neural: Any, temperature: Any, renormalize: Any,
    out: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    y, g, to_y = np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        m, low, high = in_order(x, row, order[row], y)
        take_valid(grad[row], order[row], m, g)
        if low < high:
            inner, its_g, to = y[low:high], g[low:high], to_y[low:high]
            mass, rank = state[row, 0, low:high], state[row, 1, low:high]
            if neural:
                neuralsort_ranks_vjp(inner, low, temperature, renormalize, its_g, mass, rank, to)
            else:
                softsort_ranks_vjp(inner, low, temperature, renormalize, its_g, mass, rank, to)
        put_back(to_y, order[row], low, high, out[row])


def unimodal_ranks_vjp(
    grad: Tensor, x: Tensor, order: Tensor, state: Tensor, kind: str, temperature: float,
    renormalize: bool,
) -> Tensor:  # fmt: skip
    """As the function of this name in :mod:`rankgrad.kernels.reference.unimodal`."""
    values, neural = array(x), kind == "neuralsort"
    n = values.shape[1]
    out = np.empty_like(values)
    given = array(grad), values, array(order), array(state)
    if not in_parts(neural, n):
        by_rows(
            _ranks_vjp_rows, work(neural, values.shape), *given, neural, temperature,
            renormalize, out, grain=GRAIN,
        )  # fmt: skip
    else:
        y, g, to_y = np.empty(n), np.empty(n), np.empty(n)
        for row, (its_grad, _, at, its_state) in enumerate(zip(*given, strict=True)):
            m, low, high = in_order(values, row, at, y)
            take_valid(its_grad, at, m, g)
            if low < high:
                neuralsort_parts.neuralsort_ranks_vjp(
                    y[low:high], low, temperature, renormalize, g[low:high],
                    *its_state[:, low:high], to_y[low:high],
                )  # fmt: skip
            put_back(to_y, at, low, high, out[row])
    return torch.from_numpy(out)
