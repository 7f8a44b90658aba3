"""Soft ranks and soft sorting by projection onto the permutahedron: a sort and a convex hull."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.curves import Curve
from rankgrad.kernels.cuda.entropic import (
    entropic_project,
    entropic_rank_vjp,
    entropic_sort_vjp,
)
from rankgrad.kernels.cuda.isotonic import block_sizes, falling_blocks, whose_block
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.running import between, plus, running
from rankgrad.kernels.reference.isotonic import ordered

__all__ = ["project_rank", "project_rank_vjp", "project_sort", "project_sort_vjp"]

_BLOCK = 256


@triton.jit(do_not_specialize=["n", "stride", "all", "steps"])
def _read_blocks(
    y, total, rest, order, edges, count, first, last, many, broken, strength, out, block,
    n, stride, all, steps, RANK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what the sorted places ``i`` get, ranks in the places of the input, and the blocks."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < all
    # Infinite scores are a block of their own at either end.
    row, i, valid, inner, a, b = whose_block(
        at, live, first, last, many, edges, count, n, stride, steps, True
    )
    lost = tl.load(broken + row, mask=live, other=0) != 0
    here = tl.load(y + at, mask=live, other=0.0)
    size = (b - a).to(tl.float64)
    # The mean of the block less the score, in twice the working precision.
    place = row * (n + 1)
    high = tl.load(total + place + b, mask=inner, other=0.0)
    low = tl.load(rest + place + b, mask=inner, other=0.0)
    high, low = plus(high, low, -tl.load(total + place + a, mask=inner, other=0.0))
    low -= tl.load(rest + place + a, mask=inner, other=0.0)
    product = size * here
    mean = ((high - product) + (low - tl.fma(size, here, -product))) / size
    middle = 0.5 * (a + b + 1).to(tl.float64)
    speed = tl.load(strength)
    to = row * n + tl.load(order + at, mask=live, other=0)
    held = i < valid
    if RANK:
        soft = tl.where(inner & (size > 1.0), middle + mean / speed, middle)
        soft = tl.where(lost, float("nan"), soft)
        tl.store(out + to, tl.where(held, soft, 0.0).to(out.dtype.element_ty), mask=live)
    else:
        soft = here + mean + (middle - (i + 1).to(tl.float64)) / speed
        soft = tl.where(lost, float("nan"), soft)
        tl.store(out + at, tl.where(held, soft, 0.0).to(out.dtype.element_ty), mask=live)
    tl.store(block + to, tl.where(held & (lost == 0), a, -1).to(tl.int32), mask=live)


def _project(x: Tensor, mask: Tensor | None, strength: float, rank: bool) -> tuple[Tensor, Tensor]:
    rows, n = x.shape
    out, block = torch.empty_like(x), torch.empty_like(x, dtype=torch.int32)
    if x.numel() == 0:
        return out, block
    order, y, valid = ordered(x, mask)
    many = valid.sum(-1)
    infinite = y.isinf() & valid
    above = infinite & (y > 0)
    nan = (y.isnan() & valid).any(-1, keepdim=True)
    place = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
    y = torch.where(y.isfinite() & valid, y, 0.0)
    if rank:
        first = above.sum(-1)
        last = many - (infinite & ~above).sum(-1)
        line = y + strength * place
    else:
        first, last = torch.zeros_like(many), many
        line = torch.where(infinite.any(-1, keepdim=True), 0.0, -strength * y - place)
    blocks = falling_blocks(Curve(*running(line)), first, last)
    total, rest = running(y)
    launch(
        _read_blocks, ceil_div(rows * n, _BLOCK), y, total, rest, order, blocks.edges, blocks.count,
        first, last, many, nan.to(torch.int32), scalar(strength, x), out, block,
        n, blocks.edges.shape[1], rows * n, search_steps(n + 1), RANK=rank, BLOCK=_BLOCK,
        enable_fp_fusion=False,  # what rounding cuts off a product is added back
    )  # fmt: skip
    if not rank:  # an infinite score shares its block with all others
        spoilt = torch.where(above.any(-1, keepdim=True) | nan, torch.nan, -torch.inf)
        out = torch.where(infinite.any(-1, keepdim=True) & valid, spoilt.to(x.dtype), out)
    return out, block


def project_rank(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the soft ranks of each row of ``x`` [rows, n], 0 where masked, and the blocks."""
    project = entropic_project if entropic else _project
    return project(x.detach().contiguous(), mask, strength, rank=True)


def project_sort(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return the softly sorted rows of ``x`` [rows, n], largest first, and the blocks."""
    project = entropic_project if entropic else _project
    return project(x.detach().contiguous(), mask, strength, rank=False)


@triton.jit(do_not_specialize=["n", "all"])
def _block_means(
    grad, block, size, offset, total, rest, strength, out, n, all,
    RANK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the means of the sorted gradients over blocks; for ranks what they exceed ``grad``."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < all
    row = at // n
    start = tl.load(block + at, mask=live, other=-1).to(tl.int64)
    held = start >= 0
    many = tl.load(size + row * n + start, mask=held, other=1)
    first = row * (n + 1) + start
    if RANK:  # what is masked was sorted to the front
        first += tl.load(offset + row, mask=live, other=0)
    mean = between(total, rest, first, first + many, held) / many.to(tl.float64)
    if RANK:
        mean -= tl.load(grad + at, mask=live, other=0.0).to(tl.float64)
        mean /= tl.load(strength)
    tl.store(out + at, tl.where(held, mean, 0.0).to(out.dtype.element_ty), mask=live)


def _mean_by_block(
    grad: Tensor, block: Tensor, offset: Tensor | None, line: Tensor, strength: float, out: Tensor
) -> Tensor:
    """Fill ``out`` with means over blocks of ``line``, the gradients in sorted order."""
    rows, n = block.shape
    size = block_sizes(block)
    total, rest = running(line)
    launch(
        _block_means, ceil_div(rows * n, _BLOCK), grad, block, size, offset, total, rest,
        scalar(strength, grad), out, n, rows * n, RANK=offset is not None, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


def project_rank_vjp(
    grad: Tensor, ranks: Tensor, block: Tensor, strength: float, entropic: bool
) -> Tensor:
    """Return the gradient of the scores for the gradient of their soft ranks.

    One sort of the blocks brings their elements together: sums in an order of their own.
    """
    if grad.numel() == 0:
        return torch.zeros_like(ranks)
    grad, block = grad.contiguous(), block.contiguous()
    if entropic:
        return entropic_rank_vjp(grad, ranks, block, strength)
    order = torch.sort(block, dim=-1, stable=True).indices
    masked = (block < 0).sum(-1)
    line = torch.where(block >= 0, grad, 0.0).gather(-1, order)
    return _mean_by_block(grad, block, masked, line, strength, torch.empty_like(ranks))


def project_sort_vjp(grad: Tensor, x: Tensor, block: Tensor, entropic: bool) -> Tensor:
    """Return the gradient of the scores for the gradient of their softly sorted values."""
    if grad.numel() == 0:
        return torch.zeros_like(x)
    grad, block = grad.contiguous(), block.contiguous()
    if entropic:
        return entropic_sort_vjp(grad, x, block)
    inside = torch.arange(grad.shape[1], device=grad.device) < (block >= 0).sum(-1, keepdim=True)
    line = torch.where(inside, grad, 0.0)
    return _mean_by_block(grad, block, None, line, 1.0, torch.empty_like(x))
