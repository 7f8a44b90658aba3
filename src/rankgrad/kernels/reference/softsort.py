"""Sums with the kernel ``exp(-|x_i - x_j|)``, in plain PyTorch, tile by tile."""

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = ["softsort_sums"]


def softsort_sums(x: Tensor, v: Tensor, want_odd: bool) -> tuple[Tensor, Tensor | None]:
    """Return ``sum_j K_ij v_cj`` and ``sum_j sign(x_i - x_j) K_ij v_cj``.

    ``K_ij = exp(-|x_i - x_j|)``.

    The rows of ``x`` [rows, n] are sorted, largest first; ``v`` is [rows, c, n].
    """
    even = torch.empty_like(v)
    odd = torch.empty_like(v) if want_odd else None
    for part in tiles(x.shape[1], x.numel()):
        gap = x[:, part, None] - x[:, None, :]
        kernel = torch.exp(-gap.abs())
        even[:, :, part] = torch.einsum("rij,rcj->rci", kernel, v)
        if odd is not None:
            odd[:, :, part] = torch.einsum("rij,rcj->rci", kernel * gap.sign(), v)
    return even, odd
