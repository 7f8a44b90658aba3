"""From a logit to its gap between knots, inside kernels."""

import triton
import triton.language as tl

from rankgrad.kernels.cuda.search import first_beyond

__all__ = ["excess", "gaps"]


@triton.jit
def gaps(
    logits, targets, groups, reached, starts, n, per_positive, steps, BLOCK: tl.constexpr
):  # fmt: skip
    """Return places, logits, which of them matter, their gaps, their segments and which are NaN.

    Those matter that are negative and reach a positive. A NaN does as well, and its gap is 0.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + i, mask=i < n, other=0.0)
    lost = x != x
    keep = tl.load(targets + i, mask=i < n, other=1.0) == 0.0
    group = tl.zeros([BLOCK], tl.int64)
    begin = group
    if groups is not None:
        group = tl.load(groups + i, mask=i < n, other=-1)
        keep = keep & (group >= 0)
        group = tl.where(keep, group, 0)
        begin = tl.load(starts + group, mask=keep, other=0) * per_positive
        end = tl.load(starts + group + 1, mask=keep, other=0) * per_positive
    else:
        end = begin + tl.load(starts + 1) * per_positive
    keep = keep & (begin < end)
    keep = keep & ((x >= tl.load(reached + begin, mask=keep, other=0.0)) | lost)
    gap = begin
    if tl.max(keep.to(tl.int32), axis=0) > 0:  # most blocks of a detector's logits have none
        end = tl.where(keep, end, begin)
        gap = first_beyond(reached, begin, end, x, keep, steps) - 1
    keep = keep & ((gap >= begin) | lost)
    return i, x, keep, tl.where(keep & (lost == 0), gap, 0), group, lost


@triton.jit
def excess(x, at, gap, keep):
    """Return by how much ``x`` exceeds the knot below it; 0 for infinities."""
    x = x.to(tl.float64)
    below = tl.load(at + gap, mask=keep, other=0.0)
    return tl.where((x == below) | (tl.abs(x) == float("inf")), 0.0, x - below)
