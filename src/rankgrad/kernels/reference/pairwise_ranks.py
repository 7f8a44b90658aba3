"""Soft ranks of short rows in plain PyTorch, by the matrix of all pairs."""

import torch
from torch import Tensor

from rankgrad.comparisons import Cauchy, Laplace, Logistic, Normal, Ramp
from rankgrad.kernels.reference.steepness import pair_deviation
from rankgrad.kernels.reference.tiles import tiles

__all__ = ["pairwise_ranks", "pairwise_ranks_vjp"]

_KINDS = {c.kind: c for c in (Ramp, Logistic, Laplace, Cauchy, Normal)}


def _gaps(x: Tensor, mask: Tensor | None, width: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``(x_j - x_i) / width``, which pairs are of valid scores, and rows that are broken."""
    valid = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    x = x.double()
    broken = (x.isnan() & valid).any(-1, keepdim=True)
    x = torch.where(valid & ~broken, x, 0.0)
    gap = torch.where(x.unsqueeze(-2) == x.unsqueeze(-1), 0.0, x.unsqueeze(-2) - x.unsqueeze(-1))
    gap = gap / width.unsqueeze(-1)
    return gap, valid.unsqueeze(-2) & valid.unsqueeze(-1), valid, broken


def _width(x: Tensor, mask: Tensor | None, steepness: float) -> Tensor:
    """Return what the gaps of each row are divided by, float64 [rows, 1]."""
    if steepness == 0.0:
        return x.new_ones((len(x), 1), dtype=torch.float64)
    deviation = pair_deviation(x, mask)[1]
    return torch.where(deviation > 0, deviation / steepness, 1.0)


def pairwise_ranks(
    x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    """Return ``1 + sum over j != i of H((x_j - x_i) / width)`` for each row of ``x`` [rows, n].

    The width is 1 for a ``steepness`` of 0, else the deviation of the row's pairs over it, if they
    differ at all. 0 where masked; a row with a NaN among its valid scores is NaN.
    """
    out, width = torch.empty_like(x), _width(x, mask, steepness)
    for part in tiles(len(x), x.shape[1] ** 2):
        flags, its_width = None if mask is None else mask[part], width[part]
        gap, pairs, valid, broken = _gaps(x[part], flags, its_width)
        ahead = torch.where(pairs, _KINDS[kind](scale).value(gap), 0.0).sum(-1) + 0.5
        out[part] = torch.where(valid, torch.where(broken, torch.nan, ahead), 0.0).to(x.dtype)
    return out


def pairwise_ranks_vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    """Return the gradient of the scores for that of their ranks; 0 in a row with a NaN."""
    out, width = torch.empty_like(x), _width(x, mask, steepness)
    for part in tiles(len(x), x.shape[1] ** 2):
        flags, its_width = None if mask is None else mask[part], width[part]
        gap, pairs, valid, broken = _gaps(x[part], flags, its_width)
        near = torch.where(pairs, _KINDS[kind](scale).derivative(gap), 0.0)
        g = torch.where(valid, grad[part].double(), 0.0)
        pull = (near * (g.unsqueeze(-2) - g.unsqueeze(-1))).sum(-1)
        out[part] = torch.where(broken, 0.0, pull / its_width).to(x.dtype)
    return out
