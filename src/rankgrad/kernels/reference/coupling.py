"""Sums over the matrix ``exp(a_i x_j + f_i + g_j)``, in plain PyTorch, tile by tile."""

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = ["coupling_apply", "coupling_logsumexp"]


def coupling_logsumexp(a: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """Return ``log sum_j exp(a_i x_j + g_j)`` by row; ``a`` [rows, n_a], ``x``, ``g`` [rows, n_x].

    An element with ``g_j = -inf`` is not there.
    """
    out = torch.empty_like(a)
    for part in tiles(a.shape[1], x.numel()):
        out[:, part] = torch.logsumexp(a[:, part, None] * x[:, None, :] + g[:, None, :], dim=-1)
    return out


def coupling_apply(a: Tensor, x: Tensor, f: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """Return ``sum_j exp(a_i x_j + f_i + g_j) v_cj``, ``v`` [rows, c, n_x] -> [rows, c, n_a].

    Rows with ``f_i = -inf`` are zero, columns with ``g_j = -inf`` are not there.
    """
    out = v.new_empty((v.shape[0], v.shape[1], a.shape[1]))
    for part in tiles(a.shape[1], x.numel()):
        logits = a[:, part, None] * x[:, None, :] + f[:, part, None] + g[:, None, :]
        out[:, :, part] = torch.einsum("rij,rcj->rci", logits.exp(), v)
    return out
