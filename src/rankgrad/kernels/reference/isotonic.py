"""Soft ranks and soft sorting by projection onto the permutahedron, in plain PyTorch.

Isotonic regression in rounds: every round merges each run of neighbouring blocks whose values are
out of order, all rows at once, until none is. A handful of rounds as a rule.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rankgrad.kernels.reference.sorting import argsort_valid

__all__ = ["ordered", "project_rank", "project_rank_vjp", "project_sort", "project_sort_vjp"]


def ordered(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return what sorts the rows with masked elements last, sorted float64 values, and which."""
    order = argsort_valid(x, mask, True)
    valid = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.gather(-1, order)
    return order, x.gather(-1, order).double(), valid


def _pool(level: Callable[[Tensor], Tensor], wall: Tensor) -> Tensor:
    """Return the first position of the block of every position.

    ``level`` gives the value of its block for every position; blocks whose values do not fall
    merge, but never across a ``wall``, which stands before a position.
    """
    place = torch.arange(wall.shape[-1], device=wall.device).expand_as(wall)
    opens = torch.ones_like(wall)
    while True:
        first = torch.where(opens, place, 0).cummax(-1).values
        value = level(first)
        joins = torch.zeros_like(wall)
        joins[..., 1:] = (value[..., :-1] <= value[..., 1:]) & ~wall[..., 1:] & opens[..., 1:]
        if not joins.any():
            return first
        opens = opens & ~joins


def _sum(x: Tensor, first: Tensor) -> Tensor:
    """Return the sum over its block for every position."""
    return torch.zeros_like(x).scatter_add_(-1, first, x).gather(-1, first)


def _last(first: Tensor) -> Tensor:
    """Return the last position of the block of every position."""
    return first + _sum(torch.ones_like(first), first) - 1


def _walls(y: Tensor, valid: Tensor) -> Tensor:
    """Where no block may pass: between valid and masked, finite and infinite elements."""
    apart = valid[..., 1:] != valid[..., :-1]
    infinite = y[..., 1:].isinf() | y[..., :-1].isinf()
    walls = torch.zeros_like(valid)
    walls[..., 1:] = apart | (infinite & (y[..., 1:] != y[..., :-1]))
    return walls


def _broken(x: Tensor, mask: Tensor | None) -> Tensor:
    """Which rows have a NaN among their valid elements."""
    return (x.isnan() if mask is None else x.isnan() & mask).any(-1, keepdim=True)


def project_rank(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the soft ranks of each row of ``x`` [rows, n], 0 where masked, and the blocks."""
    order, y, valid = ordered(x, mask)
    walls = _walls(y, valid)
    y = torch.where(y.isinf(), 0.0, y)
    place = torch.arange(1, x.shape[-1] + 1, dtype=y.dtype, device=y.device).expand_as(y)

    def shares(first: Tensor) -> Tensor:
        return torch.exp((y.gather(-1, _last(first)) - y) / strength)

    def level(first: Tensor) -> Tensor:
        if entropic:
            mass = _sum(shares(first), first).log() - y.gather(-1, _last(first)) / strength
            return _sum(place, first).log() - mass
        return _sum(y + strength * place, first) / _sum(torch.ones_like(y), first)

    first = _pool(level, walls)
    if entropic:
        ranks = shares(first) / _sum(shares(first), first) * _sum(place, first)
    else:
        gap = y - y.gather(-1, first)
        count = _sum(torch.ones_like(y), first)
        ranks = _sum(place, first) / count + (_sum(gap, first) / count - gap) / strength
    broken = _broken(x, mask)
    ranks = _unsorted(ranks.masked_fill(broken, torch.nan), order, valid, 0.0)
    block = _unsorted(first, order, valid & ~broken, -1)
    return ranks.to(x.dtype), block.int()


def project_sort(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the softly sorted rows of ``x`` [rows, n], largest first, and the blocks.

    With ``entropic`` a score of -inf takes a place and has no share in its block; a row whose
    largest score is infinite is NaN.
    """
    order, y, valid = ordered(x, mask)
    walls = torch.zeros_like(valid)
    walls[..., 1:] = valid[..., 1:] != valid[..., :-1]
    place = torch.arange(x.shape[-1], dtype=y.dtype, device=y.device).expand_as(y)
    anchor = -place / strength

    def mean_exp(z: Tensor, first: Tensor) -> Tensor:
        peak = z.gather(-1, first)
        return _sum(torch.exp(torch.where(z == -torch.inf, z, z - peak)), first).log() + peak

    def level(first: Tensor) -> Tensor:
        if entropic:
            return mean_exp(anchor, first) - mean_exp(y, first)
        return -_sum(strength * y + place, first) / _sum(torch.ones_like(y), first)

    first = _pool(level, walls)
    origin, step = y.gather(-1, first), anchor - anchor.gather(-1, first)
    if entropic:
        shift = mean_exp(y - origin, first) - mean_exp(step, first)
    else:
        shift = _sum(y - origin - step, first) / _sum(torch.ones_like(y), first)
    broken = _broken(x, mask)
    if entropic:
        broken = broken | (y[:, :1].isinf() & valid[:, :1]).any(-1, keepdim=True)
    values = torch.where(valid, (origin + step + shift).masked_fill(broken, torch.nan), 0.0)
    return values.to(x.dtype), _unsorted(first, order, valid & ~broken, -1).int()


def _unsorted(values: Tensor, order: Tensor, valid: Tensor, fill: float | int) -> Tensor:
    values = torch.where(valid, values, fill).to(values.dtype)
    return torch.empty_like(values).scatter_(-1, order, values)


def _by_block(x: Tensor, block: Tensor) -> Tensor:
    """Return the sum over its block for every valid element; block starts at -1 where masked."""
    home = block.long().clamp(min=0)
    return _sum(torch.where(block >= 0, x, 0.0), home)


def project_rank_vjp(
    grad: Tensor, ranks: Tensor, block: Tensor, strength: float, entropic: bool
) -> Tensor:
    """Return the gradient of the scores for the gradient of their soft ranks."""
    g = grad.double()
    share = ranks.double() if entropic else torch.ones_like(g)
    mean = _by_block(g * share, block) / _by_block(share, block)
    return torch.where(block >= 0, share * (mean - g) / strength, 0.0).to(ranks.dtype)


def project_sort_vjp(grad: Tensor, x: Tensor, block: Tensor, entropic: bool) -> Tensor:
    """Return the gradient of the scores for the gradient of their softly sorted values."""
    home = block.long().clamp(min=0)
    valid = block >= 0
    # Blocks cover the sorted positions without gaps: position j lies in the last that starts by j.
    starts = torch.zeros_like(home).scatter_reduce_(-1, home, home, "amax")
    first = starts.cummax(-1).values
    inside = torch.arange(x.shape[-1], device=x.device) < valid.sum(-1, keepdim=True)
    total = torch.zeros_like(grad, dtype=torch.float64)
    total.scatter_add_(-1, first, torch.where(inside, grad.double(), 0.0))
    y = x.double()
    if entropic:
        low = torch.full_like(y, -torch.inf)
        peak = low.scatter_reduce(-1, home, torch.where(valid, y, -torch.inf), "amax")
        share = torch.where(valid, torch.exp(y - peak.gather(-1, home)), 0.0)
    else:
        share = valid.double()
    out = share / _by_block(share, block) * total.gather(-1, home)
    return torch.where(valid, out, 0.0).to(x.dtype)
