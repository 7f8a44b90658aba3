"""Entropic soft ranks and soft sorting: isotonic regression whose blocks are ratios of sums.

The value of a block is the logarithm of a sum with a closed form, of places or of powers, less that
of a sum of exponentials of scores. The exponentials are summed towards the larger ones, in the unit
of the last: for ranks along the sorted scores, for sorting against them.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.curves import Curve, expm1
from rankgrad.kernels.cuda.isotonic import block_sizes, falling_blocks, whose_block
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.running import between, running
from rankgrad.kernels.reference.isotonic import ordered

__all__ = ["entropic_project", "entropic_rank_vjp", "entropic_sort_vjp"]

_BLOCK = 256


@triton.jit(do_not_specialize=["n", "stride", "all", "steps"])
def _shares(
    term, level, edges, count, first, last, many, scale, out, n, stride, all, steps,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the exponentials in units of the last of their block."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, i, _, inner, _, b = whose_block(
        at, at < all, first, last, many, edges, count, n, stride, steps, False
    )
    place = row * (n + 1)
    here = tl.load(level + place + i + 1, mask=inner, other=0.0)
    last_one = tl.load(level + place + b, mask=inner, other=0.0)
    share = tl.load(term + at, mask=inner, other=0.0)
    share *= tl.exp(tl.minimum(here - last_one, 0.0) / tl.load(scale))
    tl.store(out + at, share, mask=at < all)


@triton.jit(do_not_specialize=["n", "stride", "all", "steps"])
def _read_entropic(
    total, rest, level, scores, order, edges, count, first, last, many, broken, strength, out,
    block, n, stride, all, steps, RANK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what the places ``i`` of a curve get, and the sorted places where blocks start."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < all
    row, i, valid, inner, a, b = whose_block(
        at, live, first, last, many, edges, count, n, stride, steps, RANK
    )
    lost = tl.load(broken + row, mask=live, other=0) != 0
    place = row * (n + 1)
    size = (b - a).to(tl.float64)
    to = row * n + tl.load(order + at, mask=live, other=0)
    speed = tl.load(strength)
    mass = tl.where(inner, between(total, rest, place + a, place + b, inner), 1.0)
    if RANK:
        held = i < valid
        middle = 0.5 * (a + b + 1).to(tl.float64)
        here = tl.load(level + place + i + 1, mask=inner, other=0.0)
        peak = tl.load(level + place + b, mask=inner, other=0.0)
        share = tl.exp((here - peak) / speed) / mass
        soft = tl.where(inner & (size > 1.0), share * (size * middle), middle)
        start = a
        where = to
    else:  # counted from the smallest score
        held = inner
        after = (b - 1 - i).to(tl.float64)
        peak = tl.load(scores + row * n + b - 1, mask=inner, other=0.0)
        share = tl.log(expm1(-size / speed) / expm1(-1.0 / speed) / mass)
        soft = peak - (after / speed + share)
        start = n - b
        where = row * n + n - 1 - i
    soft = tl.where(lost, float("nan"), soft)
    tl.store(out + where, tl.where(held, soft, 0.0).to(out.dtype.element_ty), mask=live)
    tl.store(block + to, tl.where(held & (lost == 0), start, -1).to(tl.int32), mask=live)


def _closer(level: Tensor, most: float) -> Tensor:
    """Return a rising ``level`` [rows, n] from 0 on, with no gap above ``most``.

    Beside a score as large as the dtype allows, which stands for infinity or for nothing, the
    others would differ by less than is rounded off.
    """
    gap = torch.nn.functional.pad(level.diff(dim=-1), (1, 0))
    place = torch.arange(level.shape[1], device=level.device)
    anchor = torch.where(gap > most, place, 0).cummax(-1).values
    total, rest = running(gap.clamp(max=most))
    base = (total + rest)[:, 1:].gather(-1, anchor)
    return (level - level.gather(-1, anchor)) + base


def entropic_project(
    x: Tensor, mask: Tensor | None, strength: float, rank: bool
) -> tuple[Tensor, Tensor]:
    """Return soft ranks, or softly sorted values, of each row of ``x`` [rows, n], and the blocks.

    Sorting, a score of -inf takes a place and has no share in its block; one of +inf makes its row
    NaN.
    """
    rows, n = x.shape
    out, block = torch.empty_like(x), torch.empty_like(x, dtype=torch.int32)
    if x.numel() == 0:
        return out, block
    order, y, valid = ordered(x, mask)
    many = valid.sum(-1)
    broken = (y.isnan() & valid).any(-1)
    above, below = ((y == end) & valid for end in (torch.inf, -torch.inf))
    hidden = None
    if rank:
        line = -y
        first, last = above.sum(-1), many - below.sum(-1)
        begin = first
    else:
        broken = broken | above.any(-1) | (below.sum(-1) == many)
        order, line, valid = order.flip(-1), y.flip(-1), valid.flip(-1)
        first, last = n - many, torch.full_like(many, n)
        begin = hidden = first + below.sum(-1)
    finite = valid & line.isfinite() & ~broken[:, None]
    # The level has to rise: what is not finite takes the nearest finite one.
    low = torch.where(finite, line, torch.inf).amin(-1, keepdim=True)
    high = torch.where(finite, line, -torch.inf).amax(-1, keepdim=True)
    ahead = torch.arange(n, device=x.device) < begin[:, None]
    level = torch.where(finite, line, torch.where(ahead, low, high))
    level = torch.where(finite.any(-1, keepdim=True), level, 0.0)
    # So far apart that the exponentials of a whole row cannot make up for it: whether two share a
    # block, and what they have of it, is settled.
    enough = 3 * math.log(n) + 50
    scores, level = level, _closer(level, strength * enough if rank else n / strength + enough)
    term = torch.ones_like(level) if rank else finite.to(level.dtype)
    scale = strength if rank else 1.0
    total, rest = running(term, level=level, scale=scale)
    points = torch.cat([level[:, :1], level], -1)
    speed = scalar(strength, x)
    curve = Curve(total, rest, points, speed, "rank" if rank else "sort")
    blocks = falling_blocks(curve, first, last, hidden)
    found = blocks.edges, blocks.count, first, last, many
    sizes = n, blocks.edges.shape[1], rows * n, search_steps(n + 1)
    # The sums of blocks afresh: those of the curve lose digits to all that is ahead of a block.
    share = torch.empty_like(level)
    launch(
        _shares, ceil_div(rows * n, _BLOCK), term, points, *found, scalar(scale, x), share, *sizes,
        BLOCK=_BLOCK,
    )  # fmt: skip
    total, rest = running(share)
    launch(
        _read_entropic, ceil_div(rows * n, _BLOCK), total, rest, points, scores, order.contiguous(),
        *found, broken.to(torch.int32), speed, out, block, *sizes, RANK=rank, BLOCK=_BLOCK,
    )  # fmt: skip
    return out, block


@triton.jit(do_not_specialize=["n", "all"])
def _block_shares(
    grad, share, block, size, offset, total, rest, weight, weight_rest, strength, out, n, all,
    RANK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write by their shares what blocks get; for ranks of the means, less what ``grad`` has."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < all
    row = at // n
    start = tl.load(block + at, mask=live, other=-1).to(tl.int64)
    held = start >= 0
    many = tl.load(size + row * n + start, mask=held, other=1)
    first = row * (n + 1) + start
    if RANK:  # what is masked was sorted to the front
        first += tl.load(offset + row, mask=live, other=0)
    found = between(total, rest, first, first + many, held)
    found = found / tl.where(held, between(weight, weight_rest, first, first + many, held), 1.0)
    if RANK:
        found -= tl.load(grad + at, mask=live, other=0.0).to(tl.float64)
        found /= tl.load(strength)
    found *= tl.load(share + at, mask=live, other=0.0).to(tl.float64)
    tl.store(out + at, tl.where(held, found, 0.0).to(out.dtype.element_ty), mask=live)


def _shared(
    grad: Tensor,
    share: Tensor,
    block: Tensor,
    offset: Tensor | None,
    line: Tensor,
    weights: Tensor,
    strength: float,
) -> Tensor:
    """Share out the sums of ``line`` over blocks; ``weights`` are the shares in its order."""
    rows, n = block.shape
    size = block_sizes(block)
    out = torch.empty_like(grad)
    launch(
        _block_shares, ceil_div(rows * n, _BLOCK), grad, share, block, size, offset,
        *running(line), *running(weights), scalar(strength, grad), out, n, rows * n,
        RANK=offset is not None, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


def entropic_rank_vjp(grad: Tensor, ranks: Tensor, block: Tensor, strength: float) -> Tensor:
    """Return the gradient of the scores for the gradient of their soft ranks."""
    order = torch.sort(block, dim=-1, stable=True).indices
    held = block >= 0
    share = torch.where(held, ranks, 0.0).double()
    product = torch.where(held, grad * share, 0.0)
    return _shared(
        grad.to(ranks.dtype), share, block, (~held).sum(-1), product.gather(-1, order),
        share.gather(-1, order), strength,
    )  # fmt: skip


def entropic_sort_vjp(grad: Tensor, x: Tensor, block: Tensor) -> Tensor:
    """Return the gradient of the scores for the gradient of their softly sorted values."""
    held = block >= 0
    order, y, _ = ordered(x, held)  # of the valid ones; in a row with a NaN there are none
    start = block.long().clamp(min=0)
    share = torch.where(held, torch.exp(x.double() - y.gather(-1, start)), 0.0)
    inside = torch.arange(x.shape[1], device=x.device) < held.sum(-1, keepdim=True)
    line = torch.where(inside, grad, 0.0)
    return _shared(grad.to(x.dtype), share, block, None, line, share.gather(-1, order), 1.0)
