"""Whole permutation matrices, written once and read once.

Their columns lie in the order in which the scores came; the loops that read them go along these.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows

__all__ = ["coupling_matrix", "coupling_matrix_vjp"]

_NOTHING = {True: -104.0, False: -746.0}  # what exp makes 0 of, in float32 and in float64


@jit()
def _coupling(
    a: Any, x: Any, f: Any, g: Any, order: Any, nothing: Any, out: Any, start: Any, stop: Any
) -> None:
    n = x.shape[1]
    for row in range(start, stop):
        matrix, at = out[row], order[row]
        if n > 0 and x[row, 0] != x[row, 0]:
            matrix[:] = np.nan
            continue
        for i in range(n):
            for j in range(n):
                power = a[row, i] * x[row, j] + (f[row, i] + g[row, j])
                # A band around the diagonal is all that is not zero.
                matrix[i, at[j]] = np.exp(power) if power > nothing else 0.0


def coupling_matrix(
    a: Tensor, x: Tensor, f: Tensor, g: Tensor, order: Tensor, single: bool
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.matrices`."""
    values = array(x)
    rows, n = values.shape
    out = np.empty((rows, n, n), np.float32 if single else np.float64)
    arguments = array(a), values, array(f), array(g), array(order), _NOTHING[single], out
    by_rows(_coupling, (rows, n * n), *arguments)
    return torch.from_numpy(out)


@jit(fastmath={"reassoc", "contract"})
def _coupling_row(grad: Any, share: Any, x: Any, a: Any, to_x: Any, to_g: Any) -> Any:
    """Add what a row of the matrix pulls at the columns; return its pulls at ``a`` and ``f``."""
    to_a = to_f = 0.0
    for j in range(x.shape[0]):
        pull = np.float64(grad[j]) * np.float64(share[j])
        to_g[j] += pull
        to_x[j] += pull * a
        to_f += pull
        to_a += pull * x[j]
    return to_a, to_f


@jit()
def _coupling_vjp(
    grad: Any, matrix: Any, a: Any, x: Any, order: Any,
    to_a: Any, to_x: Any, to_f: Any, to_g: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    n = x.shape[1]
    came, down, down_g = np.empty(n), np.empty(n), np.empty(n)
    for row in range(start, stop):
        if n > 0 and x[row, 0] != x[row, 0]:
            to_a[row], to_x[row], to_f[row], to_g[row] = 0.0, 0.0, 0.0, 0.0
            continue
        down[:] = 0.0
        down_g[:] = 0.0
        for k in range(n):
            came[order[row, k]] = x[row, k]
        for i in range(n):
            to_a[row, i], to_f[row, i] = _coupling_row(
                grad[row, i], matrix[row, i], came, a[row, i], down, down_g
            )
        for k in range(n):
            to_x[row, k], to_g[row, k] = down[order[row, k]], down_g[order[row, k]]


def coupling_matrix_vjp(
    grad: Tensor, matrix: Tensor, a: Tensor, x: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.matrices`."""
    values = array(x)
    rows, n = values.shape
    out = [np.empty_like(values) for _ in range(4)]
    arguments = array(grad), array(matrix), array(a), values, array(order), *out
    by_rows(_coupling_vjp, (rows, n * n), *arguments)
    to_a, to_x, to_f, to_g = (torch.from_numpy(part) for part in out)
    return to_a, to_x, to_f, to_g
