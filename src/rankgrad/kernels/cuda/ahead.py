"""How many negatives are ahead of each positive: one pass that counts them by gap.

Counts and fixed-point sums are integers, so that the order in which they arrive does not matter:
results are the same on every run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.cells import cell_edge, cell_width, second_cell, within_cell
from rankgrad.kernels.cuda.gaps import excess, gaps
from rankgrad.kernels.cuda.knots import knots_of, segment_of
from rankgrad.kernels.cuda.launch import ceil_div, launch, search_steps
from rankgrad.kernels.cuda.running import between, running

__all__ = ["negatives_ahead"]

_LOGITS = 1024  # to a program
_BLOCK = 128  # knots or positives to a program
# Several counters a gap, against crowding: at most so many a gap, and so many in all.
_COPIES, _COUNTERS = 32, 1 << 16


@triton.jit(do_not_specialize=["knots", "per_positive", "steps", "copies"])
def _count(
    logits, targets, groups, reached, starts, at, half_width, counters, broken,
    n, knots, per_positive, steps, copies, unit, RAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, x, keep, gap, group, lost = gaps(
        logits, targets, groups, reached, starts, n, per_positive, steps, BLOCK
    )
    tl.store(broken + group, tl.full([BLOCK], 1, tl.int64), mask=keep & lost)
    keep = keep & (lost == 0)
    to = counters + (tl.program_id(0) % copies).to(tl.int64) * 2 * knots + gap
    tl.atomic_add(to, keep.to(tl.int64), mask=keep, sem="relaxed")
    if RAMP:
        # A gap wider than a ramp lies within none, so that its sum is not asked for.
        share = tl.minimum(excess(x, at, gap, keep) / (2.0 * tl.load(half_width)), 1.0)
        tl.atomic_add(to + knots, (share * unit + 0.5).to(tl.int64), mask=keep, sem="relaxed")


@triton.jit(do_not_specialize=["knots", "copies"])
def _combine(
    counters, at, half_width, rows, knots, copies, unit, RAMP: tl.constexpr, BLOCK: tl.constexpr
):
    """Write number, excess and lever of each gap, the sums over the copies of its counters."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < knots
    number = tl.zeros([BLOCK], tl.int64)
    units = tl.zeros([BLOCK], tl.int64)
    for copy in range(copies):
        counter = counters + copy * 2 * knots + i
        number += tl.load(counter, mask=live, other=0)
        if RAMP:
            units += tl.load(counter + knots, mask=live, other=0)
    tl.store(rows + i, number.to(tl.float64), mask=live)
    if RAMP:
        tl.store(rows + knots + i, units.to(tl.float64) / unit, mask=live)
        x = tl.load(at + i, mask=live, other=0.0)
        lever = number.to(tl.float64) * within_cell(x, cell_width(2.0 * tl.load(half_width)))
        tl.store(rows + 2 * knots + i, lever, mask=live)


@triton.jit(do_not_specialize=["p", "segments", "segment_steps", "knots", "per_positive", "steps"])
def _read(
    scores, starts, half_width, at, enters, leaves, total, rest, broken, out,
    p, segments, segment_steps, knots, per_positive, steps, RAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < p
    s = tl.load(scores + i, mask=live, other=0.0)
    group = segment_of(i, starts, segments, segment_steps)
    stop = tl.load(starts + group + 1, mask=live, other=0) * per_positive
    leave = tl.load(leaves + i, mask=live, other=0)
    ahead = between(total, rest, leave, stop, live)
    if RAMP:
        # The sum of x - s over the gaps of the ramp: x above the knot, the knot above the edge of
        # its cell, and the edge above s.
        width = 2.0 * tl.load(half_width)
        enter = tl.load(enters + i, mask=live, other=0)
        step = knots + 1
        inside = between(total, rest, enter, leave, live)
        units = between(total + step, rest + step, enter, leave, live)
        lever = between(total + 2 * step, rest + 2 * step, enter, leave, live)
        cell = cell_width(width)
        edge = cell_edge(tl.load(at + enter, mask=live, other=0.0), cell)
        turn = second_cell(at, enter, tl.where(live, leave, enter), edge, cell, steps)
        lever += inside * (edge - s) + between(total, rest, turn, leave, live) * cell
        infinite = tl.abs(s) == float("inf")  # only ever tied
        ahead += 0.5 * inside + tl.where(infinite, 0.0, units + lever / width)
    lost = (tl.load(broken + group, mask=live, other=0) > 0) | (s != s)
    tl.store(out + i, tl.where(lost, float("nan"), ahead), mask=live)


def negatives_ahead(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
) -> Tensor:
    """Return, for every positive, the negatives ahead of it: ``sum_j H(x_j - s_i)``.

    Arguments as in :func:`rankgrad.kernels.cpu.ahead.negatives_ahead`. The place of a negative
    within a ramp is rounded to ``2**-b`` of its width, ``b = min(50, 62 - log2 n)``. Nothing here
    makes the host wait.
    """
    logits, targets = logits.detach().contiguous(), targets.detach().contiguous()
    scores, starts = scores.contiguous(), starts.contiguous()
    knots = knots_of(scores, starts, delta, logits.dtype)
    n, p, k, segments = logits.numel(), scores.numel(), knots.at.numel(), starts.numel() - 1
    ramp = delta > 0
    unit = float(1 << min(50, 62 - n.bit_length()))
    copies = max(1, min(_COPIES, _COUNTERS // max(k, 1)))
    zeros = torch.zeros(copies * 2 * k + segments, dtype=torch.int64, device=logits.device)
    counters, broken = zeros[: copies * 2 * k], zeros[copies * 2 * k :]
    launch(
        _count,
        ceil_div(n, _LOGITS),
        logits,
        targets,
        None if groups is None else groups.contiguous(),
        knots.reached,
        starts,
        knots.at,
        knots.delta,
        counters,
        broken,
        n,
        k,
        knots.per_positive,
        search_steps(k),
        copies,
        unit,
        RAMP=ramp,
        BLOCK=_LOGITS,
    )
    rows = scores.new_empty((3 if ramp else 1, k))
    launch(
        _combine,
        ceil_div(k, _BLOCK),
        counters,
        knots.at,
        knots.delta,
        rows,
        k,
        copies,
        unit,
        RAMP=ramp,
        BLOCK=_BLOCK,
    )
    total, rest = running(rows)
    out = torch.empty_like(scores)
    launch(
        _read,
        ceil_div(p, _BLOCK),
        scores,
        starts,
        knots.delta,
        knots.at,
        knots.enters,
        knots.leaves,
        total,
        rest,
        broken,
        out,
        p,
        segments,
        search_steps(segments),
        k,
        knots.per_positive,
        search_steps(k),
        RAMP=ramp,
        BLOCK=_BLOCK,
    )
    return out
