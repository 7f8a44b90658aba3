"""How many pairs two orders agree on, in ``O(n log n)``: for Kendall's tau and its kin."""

from typing import NamedTuple

import torch
from torch import Tensor

from rankgrad.metrics._rows import wide
from rankgrad.ranks import rank
from rankgrad.sorting import argsort

__all__ = ["PairCounts", "inversions", "pair_counts", "tied_pairs"]


class PairCounts(NamedTuple):
    """Numbers of pairs by row, in float64; together they are n (n - 1) / 2."""

    concordant: Tensor
    discordant: Tensor
    tied_in_x: Tensor  # and not in y
    tied_in_y: Tensor  # and not in x
    tied_in_both: Tensor


def pair_counts(x: Tensor, y: Tensor, mask: Tensor | None) -> PairCounts:
    """Count the pairs of the last dimension by how ``x`` and ``y`` order them; no loop over rows.

    A row with NaN among its valid values has NaN counts.
    """
    n = x.shape[-1]
    valid = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    x, y = (wide(rank(v, descending=False, ties="dense", mask=mask)) for v in (x, y))
    broken = x.isnan().any(dim=-1) | y.isnan().any(dim=-1)
    # In this order x ascends and, where it is tied, y does: what is left to invert is discordant.
    key = torch.where(valid & ~broken[..., None], x * (n + 2) + y, float((n + 2) ** 2))
    order = argsort(key, descending=False)
    sequence = torch.where(valid, y, n + 1.0).gather(-1, order)
    places = rank(sequence.nan_to_num(), descending=False).long() - 1
    discordant = wide(inversions(places))

    starts = key.gather(-1, order).diff(dim=-1, prepend=key.new_zeros((*key.shape[:-1], 1))) != 0
    both = tied_pairs(starts.cumsum(dim=-1), valid.gather(-1, order))
    in_x = tied_pairs(x.nan_to_num().long(), valid)
    in_y = tied_pairs(y.nan_to_num().long(), valid)
    count = wide(valid.sum(dim=-1))
    rest = 0.5 * count * (count - 1) - in_x - in_y + both - discordant
    counts = (rest, discordant, in_x - both, in_y - both, both)
    return PairCounts(*(c.masked_fill(broken, torch.nan) for c in counts))


def tied_pairs(group: Tensor, valid: Tensor) -> Tensor:
    """Return how many pairs of valid entries share a group; groups are numbered from 0 to n."""
    sizes = torch.zeros((*group.shape[:-1], group.shape[-1] + 1), device=group.device)
    sizes = wide(sizes).scatter_add(-1, group, wide(valid))
    return 0.5 * (sizes * (sizes - 1)).sum(dim=-1)


def inversions(places: Tensor) -> Tensor:
    """Return by row how many pairs of a permutation of 0 .. n - 1 stand in the wrong order.

    From the highest bit to the lowest: of two numbers that share all higher bits, the one with
    the bit set must come later. After each bit the numbers are parted by it, stably.
    """
    n = places.shape[-1]
    bits = max(n - 1, 0).bit_length()
    tail = torch.arange(n, 1 << bits, device=places.device)
    values = torch.cat([places, tail.expand(*places.shape[:-1], -1)], dim=-1)
    total = values.new_zeros(values.shape[:-1])
    for bit in reversed(range(bits)):
        groups = values.reshape(*places.shape[:-1], 1 << (bits - bit - 1), 2 << bit)
        high = (groups >> bit) & 1
        ahead = high.cumsum(dim=-1)  # numbers with the bit set, so far
        total = total + (ahead * (1 - high)).sum(dim=(-2, -1))
        at = torch.arange(2 << bit, device=places.device) - ahead
        at = torch.where(high == 1, (1 << bit) + ahead - 1, at)
        values = torch.empty_like(groups).scatter(-1, at, groups).flatten(-2)
    return total
