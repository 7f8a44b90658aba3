"""Whole permutation matrices by PyTorch, from sorted scores."""

import torch
from torch import Tensor

__all__ = ["coupling_matrix", "coupling_matrix_vjp"]


def _back(values: Tensor, order: Tensor) -> Tensor:
    return torch.zeros_like(values).scatter(-1, order, values)


def coupling_matrix(
    a: Tensor, x: Tensor, f: Tensor, g: Tensor, order: Tensor, single: bool
) -> Tensor:
    """Return ``exp(a_i x_j + f_i + g_j)`` with column ``j`` at ``order[j]``, [rows, n, n].

    All are [rows, n] and float64. Where ``f_i`` or ``g_j`` is -inf the matrix is zero. A row with
    NaN in front of ``x`` is NaN. The result is float32 if ``single``, else float64.
    """
    gone = torch.isneginf(f).unsqueeze(-1) | torch.isneginf(g).unsqueeze(-2)
    logits = a.unsqueeze(-1) * x.unsqueeze(-2) + (f.unsqueeze(-1) + g.unsqueeze(-2))
    matrix = torch.where(gone, 0.0, logits.exp())
    matrix = _back(matrix, order.unsqueeze(-2).expand_as(matrix))
    matrix = torch.where(x[:, :1, None].isnan(), torch.nan, matrix)
    return matrix.float() if single else matrix


def coupling_matrix_vjp(
    grad: Tensor, matrix: Tensor, a: Tensor, x: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of ``a``, ``x``, ``f`` and ``g``; zero for rows with NaN in front."""
    pull = (grad.double() * matrix.double()).gather(-1, order.unsqueeze(-2).expand(grad.shape))
    pull = torch.where(x[:, :1, None].isnan(), 0.0, pull)
    values = torch.where(x[:, :1].isnan(), 0.0, x)
    return (
        (pull * values.unsqueeze(-2)).sum(-1),
        (pull * a.unsqueeze(-1)).sum(-2),
        pull.sum(-1),
        pull.sum(-2),
    )
