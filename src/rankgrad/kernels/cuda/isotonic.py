"""Isotonic regression of rows, parallel inside a row: blocks are edges of a convex hull.

The running sums ``S_i`` of the values, drawn over ``i``, have a least concave majorant. Its edges
are the blocks of the falling fit and their slopes are its values. The hull of two neighbouring
stretches is that of the first up to a point, a bridge, and that of the second from a point on. So
stretches of a few points, whose hulls are found by looking at all pairs, are joined two by two:
``log n`` rounds, ``O(n)`` memory, and nothing that the host has to wait for.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.curves import Curve, rise, slope_between
from rankgrad.kernels.cuda.launch import ceil_div, launch, search_steps

__all__ = ["Blocks", "block_of", "block_sizes", "falling_blocks", "whose_block"]

_TILE = 32  # points whose hull is found by looking at all pairs
_PAIRS, _TRIES = 8, 16  # bridges to a program, and how many places are tried at once for each
_BLOCK = 256


@dataclass(frozen=True)
class Blocks:
    """What :func:`falling_blocks` returns.

    Attributes:
        edges: [rows, stride] int32, where blocks start, and at last where the last one ends.
        count: [rows] int32, how many edges a row has.
    """

    edges: Tensor
    count: Tensor


@triton.jit(do_not_specialize=["points", "stride", "tiles"])
def _hulls_of_tiles(
    total, rest, level, strength, first, last, hidden, edges, counts, points, stride, tiles,
    KIND: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A point is on the hull if every slope to it exceeds every slope from it."""
    tile = tl.program_id(0).to(tl.int64)
    row = tile // tiles
    i = (tile - row * tiles) * TILE + tl.arange(0, TILE)
    begin = tl.load(first + row)
    inside = (i >= begin) & (i <= tl.load(last + row))
    if hidden is not None:
        inside = inside & ((i <= begin) | (i > tl.load(hidden + row)))
    high = tl.load(total + row * points + i, mask=inside, other=0.0)
    low = tl.load(rest + row * points + i, mask=inside, other=0.0)
    ahead = i[None, :] > i[:, None]
    unit, origin, scale = high, 0.0, 1.0
    if KIND != "mean":
        unit = tl.load(level + row * points + i, mask=inside, other=0.0)
        origin = tl.load(level + row * points + (tile - row * tiles) * TILE)
        scale = tl.load(strength)
    slope = rise(
        high[:, None], low[:, None], unit[:, None], i[:, None],
        high[None, :], low[None, :], unit[None, :], i[None, :],
        origin, (tile - row * tiles) * TILE, scale, KIND,
    )  # fmt: skip
    pair = ahead & inside[None, :] & inside[:, None]
    onward = tl.max(tl.where(pair, slope, float("-inf")), axis=1)
    coming = tl.min(tl.where(pair, slope, float("inf")), axis=0)
    corner = (inside & (onward < coming)).to(tl.int32)
    place = row * stride + (tile - row * tiles) * TILE + tl.cumsum(corner, axis=0) - 1
    tl.store(edges + place, i.to(tl.int32), mask=corner > 0)
    tl.store(counts + tile, tl.sum(corner, axis=0))


@triton.jit(
    do_not_specialize=["points", "stride", "size", "nodes", "pairs", "all", "rounds", "steps"]
)
def _bridges(
    total, rest, level, strength, edges, counts, keep, skip, joined,
    points, stride, size, nodes, pairs, all, rounds, steps,
    KIND: tl.constexpr, PAIRS: tl.constexpr, TRIES: tl.constexpr,
):  # fmt: skip
    """Write how many points of a left hull stay, how many of the right go, and how many remain."""
    pair = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    live = pair < all
    row = pair // pairs
    left = 2 * (pair - row * pairs)
    base = row * points
    here = tl.load(counts + row * nodes + left, mask=live, other=0)
    there = tl.load(counts + row * nodes + left + 1, mask=live & (left + 1 < nodes), other=0)
    both = (here > 0) & (there > 0)
    mine = row * stride + left * size
    theirs = mine + size
    o = tl.minimum((left + 1) * size, points - 1)
    origin, scale = o, 1.0
    if KIND != "mean":
        origin = tl.load(level + base + o, mask=live, other=0.0)
        scale = tl.load(strength)
    base_2, unit_2, o_2 = base[:, None], origin[:, None], o[:, None]
    # The number of points that stay lies in low .. high: an edge stays if all is below its line.
    low = tl.where(both, 1, here)
    high = here
    tries = tl.arange(0, TRIES)[None, :] + 1
    for round in range(rounds):
        c = low[:, None] + (high - low)[:, None] * tries // (TRIES + 1)
        asks = c < high[:, None]
        p = tl.load(edges + mine[:, None] + c - 1, mask=asks, other=0)
        q = tl.load(edges + mine[:, None] + c, mask=asks, other=1)
        line = slope_between(total, rest, level, unit_2, o_2, scale, base_2, p, q, asks, KIND)
        d = tl.zeros([PAIRS, TRIES], tl.int32)
        e = tl.where(asks, there[:, None] - 1, 0)
        for step in range(steps):
            looks = d < e
            middle = (d + e) // 2
            u = tl.load(edges + theirs[:, None] + middle, mask=looks, other=0)
            v = tl.load(edges + theirs[:, None] + middle + 1, mask=looks, other=1)
            tilt = slope_between(total, rest, level, unit_2, o_2, scale, base_2, u, v, looks, KIND)
            onward = looks & (tilt > line)
            e = tl.where(looks & (onward == 0), middle, e)
            d = tl.where(onward, middle + 1, d)
        far = tl.load(edges + theirs[:, None] + d, mask=asks, other=2)
        tilt = slope_between(total, rest, level, unit_2, o_2, scale, base_2, q, far, asks, KIND)
        stays = asks & (tilt < line)
        m = tl.sum(stays.to(tl.int32), axis=1)
        width = high - low
        high = tl.where(m < TRIES, low + width * (m + 1) // (TRIES + 1), high)
        low = tl.where(m > 0, low + width * m // (TRIES + 1) + 1, low)
    # The bridge goes from the last that stays to the point that is highest seen from there.
    a = tl.load(edges + mine + low - 1, mask=both, other=0)
    d = tl.zeros([PAIRS], tl.int32)
    e = tl.where(both, there - 1, 0)
    for step in range(steps):
        looks = d < e
        middle = (d + e) // 2
        u = tl.load(edges + theirs + middle, mask=looks, other=1)
        v = tl.load(edges + theirs + middle + 1, mask=looks, other=2)
        tilt = slope_between(total, rest, level, origin, o, scale, base, u, v, looks, KIND)
        rises = tilt >= slope_between(total, rest, level, origin, o, scale, base, a, u, looks, KIND)
        e = tl.where(looks & (rises == 0), middle, e)
        d = tl.where(looks & rises, middle + 1, d)
    tl.store(keep + pair, low, mask=live)
    tl.store(skip + pair, d, mask=live)
    tl.store(joined + pair, low + there - d, mask=live)


@triton.jit(do_not_specialize=["stride", "size", "pairs", "total"])
def _join(edges, keep, skip, joined, out, stride, size, pairs, total, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    row = i // stride
    node = (i - row * stride) // (2 * size)
    begin = row * stride + node * 2 * size
    at = i - begin
    pair = row * pairs + node
    live = live & (at < tl.load(joined + pair, mask=live, other=0))
    stay = tl.load(keep + pair, mask=live, other=0)
    moved = at - stay + size + tl.load(skip + pair, mask=live, other=0)
    source = begin + tl.where(at < stay, at, moved)
    tl.store(out + i, tl.load(edges + source, mask=live, other=0), mask=live)


@triton.jit
def block_of(edges, count, i, live, steps):
    """Return start and end of the block that holds each place ``i`` of a row."""
    low = tl.zeros_like(i)
    high = tl.where(live, count - 1, 0).to(i.dtype)
    for step in range(steps):
        looks = low < high
        middle = (low + high) // 2
        passed = looks & (tl.load(edges + middle, mask=looks, other=0) <= i)
        high = tl.where(looks & (passed == 0), middle, high)
        low = tl.where(passed, middle + 1, low)
    found = live & (low > 0)
    begin = tl.load(edges + low - 1, mask=found, other=0)
    return begin, tl.load(edges + low, mask=found, other=1)


@triton.jit
def whose_block(
    at, live, first, last, many, edges, count, n, stride, steps, WALLED: tl.constexpr
):  # fmt: skip
    """Return row and place of elements ``at``, the row's number of valid ones, and more.

    That is: whether an element is between ``first`` and ``last``, and its block ``a .. b``. Where
    there are walls, what is not inside is a block at either end.
    """
    row = at // n
    i = at - row * n
    begin = tl.load(first + row, mask=live, other=0)
    end = tl.load(last + row, mask=live, other=0)
    valid = tl.load(many + row, mask=live, other=0)
    inner = live & (i >= begin) & (i < end)
    a, b = block_of(edges + row * stride, tl.load(count + row, mask=live, other=0), i, inner, steps)
    a, b = a.to(tl.int64), b.to(tl.int64)
    if WALLED:
        a = tl.where(inner, a, tl.where(i < begin, 0, end))
        b = tl.where(inner, b, tl.where(i < begin, begin, valid))
    return row, i, valid, inner, a, b


def falling_blocks(
    curve: Curve, first: Tensor, last: Tensor, hidden: Tensor | None = None
) -> Blocks:
    """Return the blocks of the falling fit to the elements ``first .. last`` of each row.

    ``first`` and ``last`` are [rows]. Equal neighbours share a block, and so do all elements from
    ``first`` to ``hidden``, if that is more.
    """
    rows, n = curve.total.shape[0], curve.total.shape[1] - 1
    points = curve.total, curve.rest, curve.level, curve.strength
    nodes, size = ceil_div(n + 1, _TILE), _TILE
    stride = nodes * _TILE
    edges, other = (first.new_empty((rows, stride), dtype=torch.int32) for _ in range(2))
    count = first.new_empty((rows, nodes), dtype=torch.int32)
    launch(
        _hulls_of_tiles, rows * nodes, *points, first, last, hidden, edges, count, n + 1, stride,
        nodes, KIND=curve.kind, TILE=_TILE,
    )  # fmt: skip
    while nodes > 1:
        pairs = ceil_div(nodes, 2)
        keep, skip, joined = (count.new_empty((rows, pairs)) for _ in range(3))
        rounds, width = 1, size
        while width > _TRIES:
            rounds, width = rounds + 1, ceil_div(width, _TRIES + 1)
        launch(
            _bridges, ceil_div(rows * pairs, _PAIRS), *points, edges, count, keep, skip, joined,
            n + 1, stride, size, nodes, pairs, rows * pairs, rounds, search_steps(size),
            KIND=curve.kind, PAIRS=_PAIRS, TRIES=_TRIES,
        )  # fmt: skip
        launch(
            _join, ceil_div(rows * stride, _BLOCK), edges, keep, skip, joined, other, stride, size,
            pairs, rows * stride, BLOCK=_BLOCK,
        )  # fmt: skip
        edges, other, count = other, edges, joined
        nodes, size = pairs, 2 * size
    return Blocks(edges, count[:, 0].contiguous())


@triton.jit(do_not_specialize=["n", "all"])
def _block_sizes(block, size, n, all, BLOCK: tl.constexpr):
    """Count the elements of each block at the place where it starts."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = tl.load(block + at, mask=at < all, other=-1)
    held = start >= 0
    one = tl.full([BLOCK], 1, tl.int32)
    tl.atomic_add(size + at // n * n + start, one, mask=held, sem="relaxed")


def block_sizes(block: Tensor) -> Tensor:
    """Return [rows, n] how many elements say of ``block`` that theirs starts at a place."""
    rows, n = block.shape
    size = torch.zeros((rows, n), dtype=torch.int32, device=block.device)
    launch(_block_sizes, ceil_div(rows * n, _BLOCK), block, size, n, rows * n, BLOCK=_BLOCK)
    return size
