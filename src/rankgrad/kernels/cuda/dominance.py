"""Sums of comparisons over the pairs whose labels are in order, tile by tile."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar

__all__ = ["dominance"]

_ROWS = 32  # queries to a program
_COLUMNS = 32  # partners looked at at once


@triton.jit(do_not_specialize=["p", "tiles"])
def _dominance(
    scores, weights, low, ends, delta, out, p, tiles,
    RAMP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    channel = program // tiles
    i = (program - channel * tiles) * ROWS + tl.arange(0, ROWS)
    live = i < p
    x = tl.load(scores + i, mask=live, other=0.0)
    first = tl.load(low + i, mask=live, other=0)
    last = tl.load(ends + i, mask=live, other=0)
    stop = tl.max(last, axis=0)
    start = tl.min(tl.where(live, first, stop), axis=0)
    total = tl.zeros([ROWS, COLUMNS], tl.float64)
    for j in range(start, stop, COLUMNS):
        place = j + tl.arange(0, COLUMNS)
        key = tl.load(scores + place, mask=place < stop, other=0.0)
        w = tl.load(weights + channel * p + place, mask=place < stop, other=0.0)
        gap = key[None, :] - x[:, None]
        if RAMP:
            h = gap / (2.0 * tl.load(delta)) + 0.5
            h = tl.where(h > 1.0, 1.0, tl.where(h < 0.0, 0.0, h))  # keeps a NaN
        else:
            h = (gap >= 0.0).to(tl.float64)
        partner = (place[None, :] >= first[:, None]) & (place[None, :] < last[:, None])
        total += tl.where(partner, h * w[None, :], 0.0)
    tl.store(out + channel * p + i, tl.sum(total, axis=1), mask=live)


def dominance(
    scores: Tensor, weights: Tensor, ends: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return ``sum_j w_cj H(s_j - s_i)`` over the partners ``starts(i) <= j < ends[i]``.

    Arguments as in :func:`rankgrad.kernels.cpu.dominance.dominance`. ``O(p^2)`` time at worst and
    ``O(p)`` memory.
    """
    channels, p = weights.shape
    low = torch.repeat_interleave(starts[:-1], starts.diff(), output_size=p)
    out = torch.empty((channels, p), dtype=torch.float64, device=scores.device)
    tiles = ceil_div(p, _ROWS)
    launch(
        _dominance,
        channels * tiles,
        scores.contiguous(),
        weights.contiguous(),
        low,
        ends.contiguous(),
        scalar(delta, scores),
        out,
        p,
        tiles,
        RAMP=delta > 0,
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
    )
    return out
