"""A matrix with its columns and rows scaled in turn, times values, in plain PyTorch."""

import torch
from torch import Tensor

__all__ = ["SMALL", "scaled_product", "scaled_product_vjp"]

SMALL = 1e-10  # a sum of shares that counts as none


def scaled_product(matrix: Tensor, values: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return ``diag(u) P diag(v) x`` by row for matrices ``P`` and values ``x``; at least one step.

    Each step sets ``v = 1 / (P^T u)`` and then ``u = 1 / (P v)``, from ``u = 1`` on; a sum below
    ``SMALL`` counts as that. ``P`` is [rows, n, n], ``x`` [rows, n]. And for backward all ``v``
    and all ``u``, [rows, 2, steps, n].
    """
    with torch.autocast(matrix.device.type, enabled=False):
        u = torch.ones_like(values)
        all_u, all_v = [], []
        for _ in range(steps):
            v = 1 / _times(matrix.mT, u).clamp(min=SMALL)
            u = 1 / _times(matrix, v).clamp(min=SMALL)
            all_v.append(v)
            all_u.append(u)
        # Columns that are empty have a huge factor and no share.
        out = u * _times(matrix, v * values)
    return out, torch.stack((torch.stack(all_v, 1), torch.stack(all_u, 1)), 1)


def scaled_product_vjp(
    grad: Tensor, matrix: Tensor, values: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the matrices and of the values.

    That of a matrix is a sum of two products of vectors a step, and one more.
    """
    with torch.autocast(matrix.device.type, enabled=False):
        # The derivatives of the factors by their sums; where a sum is held at SMALL there is none.
        most = 1 / torch.full_like(state, SMALL)
        slopes_v, slopes_u = torch.where(state < most, -state.square(), 0.0).unbind(1)
        all_v, all_u = state.unbind(1)
        v, u = all_v[:, -1], all_u[:, -1]
        weight, product = grad * u, v * values
        pull = _times(matrix.mT, weight)
        to_values, to_v = pull * v, pull * values
        to_u = grad * _times(matrix, product)
        down, across = [weight], [product]
        for t in range(state.shape[2] - 1, -1, -1):
            to_rows = to_u * slopes_u[:, t]
            to_columns = (to_v + _times(matrix.mT, to_rows)) * slopes_v[:, t]
            before = all_u[:, t - 1] if t else torch.ones_like(u)
            down += [to_rows, before]
            across += [all_v[:, t], to_columns]
            if t:
                to_u, to_v = _times(matrix, to_columns), torch.zeros_like(v)
        return torch.stack(down, -1) @ torch.stack(across, -2), to_values


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
