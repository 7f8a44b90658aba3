"""Sums with the kernel ``exp(-|x_i - x_j|)``, in plain PyTorch, tile by tile."""

import torch
from torch import Tensor

__all__ = ["softsort_sums"]

_TILE = 1 << 22  # pairs evaluated at once


def softsort_sums(x: Tensor, v: Tensor, want_odd: bool) -> tuple[Tensor, Tensor | None]:
    """Return ``sum_j K_ij v_cj`` and ``sum_j sign(x_i - x_j) K_ij v_cj``.

    ``K_ij = exp(-|x_i - x_j|)``.

    The rows of ``x`` [rows, n] are sorted, largest first; ``v`` is [rows, c, n].
    """
    even = torch.empty_like(v)
    odd = torch.empty_like(v) if want_odd else None
    n = x.shape[1]
    step = max(1, _TILE // max(x.numel(), 1))
    for a in range(0, n, step):
        gap = x[:, a : a + step, None] - x[:, None, :]
        kernel = torch.exp(-gap.abs())
        even[:, :, a : a + step] = torch.einsum("rij,rcj->rci", kernel, v)
        if odd is not None:
            odd[:, :, a : a + step] = torch.einsum("rij,rcj->rci", kernel * gap.sign(), v)
    return even, odd
