"""Sums of comparisons over the pairs whose labels are in order, tile by tile."""

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = ["dominance"]


def dominance(
    scores: Tensor, weights: Tensor, ends: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return ``sum_j w_cj H(s_j - s_i)`` over the partners ``starts(i) <= j < ends[i]``.

    Arguments as in :func:`rankgrad.kernels.cpu.dominance.dominance`.
    """
    p = scores.shape[0]
    out = torch.zeros_like(weights)
    places = torch.arange(p, device=scores.device)
    low = torch.repeat_interleave(starts[:-1], starts.diff(), output_size=p)
    for part in tiles(p, p):
        x = scores[None, :] - scores[part, None]
        h = (x / (2 * delta) + 0.5).clamp(0, 1) if delta > 0 else (x >= 0).to(scores.dtype)
        partner = (places >= low[part, None]) & (places < ends[part, None])
        for c in range(weights.shape[0]):  # a NaN weight may reach its partners only
            out[c, part] = (h * weights[c]).masked_fill(~partner, 0.0).sum(-1)
    return out
