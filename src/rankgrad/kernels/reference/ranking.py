"""Hard ranks by PyTorch."""

import torch
from torch import Tensor

from rankgrad.kernels.reference.sorting import argsort_valid

__all__ = ["hard_rank"]


def hard_rank(
    x: Tensor, mask: Tensor | None, descending: bool, ties: str, normalize: bool
) -> Tensor:
    """Return the ranks of the valid elements of each row of ``x`` [rows, n]; 0 where masked."""
    valid = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    order = argsort_valid(x, mask, descending)
    place = torch.arange(1, x.shape[-1] + 1, device=x.device).expand_as(order)
    count = valid.sum(-1, keepdim=True)
    if ties == "ordinal":
        shared = place
    else:
        values = x.gather(-1, order)
        opens = torch.ones_like(values, dtype=torch.bool)
        opens[..., 1:] = values[..., 1:] != values[..., :-1]
        opens |= place == count + 1  # a masked element never ties with a valid one
        closes = torch.ones_like(opens)
        closes[..., :-1] = opens[..., 1:]
        first = torch.where(opens, place, 0).cummax(-1).values
        n = x.shape[-1]
        last = n + 1 - torch.where(closes, n + 1 - place, 0).flip(-1).cummax(-1).values.flip(-1)
        dense = opens.cumsum(-1)
        shared = {"average": 0.5 * (first + last), "min": first, "max": last, "dense": dense}[ties]
        if ties == "dense" and normalize:
            count = torch.where(place <= count, dense, 0).amax(-1, keepdim=True) if n else count
    ranks = torch.empty_like(x).scatter_(-1, order, shared.to(x.dtype))
    if normalize:
        ranks = ranks / count.clamp(min=1)
    broken = (x.isnan() & valid).any(-1, keepdim=True)
    return torch.where(valid, ranks.masked_fill(broken, torch.nan), 0.0)
