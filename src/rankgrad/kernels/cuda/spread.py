"""What each positive hands to the negatives ahead of it: one pass that evaluates straight lines."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.gaps import excess, gaps
from rankgrad.kernels.cuda.knots import knots_of, ramp_of, segment_of
from rankgrad.kernels.cuda.launch import ceil_div, launch, search_steps
from rankgrad.kernels.cuda.running import between, running

__all__ = ["spread_to_negatives"]

_LOGITS = 1024  # to a program
_BLOCK = 128  # knots or positives to a program
_ROWS = 5  # whole, open, spoilt, slope, lever


@triton.jit(do_not_specialize=["p", "knots"])
def _mark(
    scores, coef, half_width, enters, leaves, rows, p, knots,
    RAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what each knot adds: for good, to the ramps that are open, and to what is no number."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < p
    s = tl.load(scores + i, mask=live, other=0.0)
    c = tl.load(coef + i, mask=live, other=0.0)
    spoilt = (c - c != 0.0) | (s != s)
    c = tl.where(spoilt, 0.0, c)
    first = rows + tl.load(enters + i, mask=live, other=0)
    tl.store(first + 2 * knots, spoilt.to(tl.float64), mask=live)
    if RAMP:
        delta = tl.load(half_width)
        enter, _, flat = ramp_of(s, delta)
        second = rows + tl.load(leaves + i, mask=live, other=0)
        sloped = tl.where(flat, 0.0, c)
        lever = sloped * tl.where(flat | spoilt, 0.0, enter)
        tl.store(first, tl.where(flat, 0.5 * c, 0.0), mask=live)
        tl.store(second, tl.where(flat, 0.5 * c, c), mask=live)
        tl.store(first + knots, tl.where(flat, 0.0, 1.0), mask=live)
        tl.store(second + knots, tl.where(flat, 0.0, -1.0), mask=live)
        tl.store(second + 2 * knots, tl.zeros([BLOCK], tl.float64), mask=live)
        tl.store(first + 3 * knots, sloped, mask=live)
        tl.store(second + 3 * knots, -sloped, mask=live)
        tl.store(first + 4 * knots, lever, mask=live)
        tl.store(second + 4 * knots, -lever, mask=live)
    else:
        tl.store(first, c, mask=live)
        tl.store(first + knots, tl.zeros([BLOCK], tl.float64), mask=live)


@triton.jit(do_not_specialize=["knots", "segments", "segment_steps", "per_positive"])
def _lines(
    starts, half_width, at, total, rest, level, tilt, knots, segments, segment_steps, per_positive,
    RAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write ``sum_i coef_i H(x - s_i)`` by gap: its value at the knot below and its slope."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < knots
    group = segment_of(i // per_positive, starts, segments, segment_steps)
    begin = tl.load(starts + group, mask=live, other=0) * per_positive
    end = tl.load(starts + group + 1, mask=live, other=0) * per_positive
    step = knots + 1
    line = between(total, rest, begin, i + 1, live)
    steep = tl.zeros([BLOCK], tl.float64)
    if RAMP:
        width = 2.0 * tl.load(half_width)
        # Where no ramp is open, what is left of slope and lever is rounding.
        is_open = between(total + step, rest + step, begin, i + 1, live) > 0.0
        slope = between(total + 3 * step, rest + 3 * step, begin, i + 1, live)
        lever = between(total + 4 * step, rest + 4 * step, begin, i + 1, live)
        x = tl.load(at + i, mask=live, other=0.0)
        line += tl.where(is_open, (slope * x - lever) / width, 0.0)
        steep = tl.where(is_open, slope / width, 0.0)
    spoilt = between(total + 2 * step, rest + 2 * step, begin, end, live) > 0.0
    tl.store(level + i, tl.where(spoilt, float("nan"), line), mask=live)
    tl.store(tilt + i, steep, mask=live)


@triton.jit(do_not_specialize=["knots", "per_positive", "steps"])
def _evaluate(
    logits, targets, groups, reached, starts, at, level, tilt, out,
    n, knots, per_positive, steps, BLOCK: tl.constexpr,
):  # fmt: skip
    i, x, keep, gap, group, lost = gaps(
        logits, targets, groups, reached, starts, n, knots, per_positive, steps, BLOCK
    )
    line = tl.load(level + gap, mask=keep, other=0.0)
    steep = tl.load(tilt + gap, mask=keep, other=0.0)
    line += tl.where(steep == 0.0, 0.0, steep * excess(x, at, gap, keep))
    line = tl.where(lost, float("nan"), line)
    tl.store(out + i, tl.where(keep, line, 0.0).to(x.dtype), mask=i < n)


def spread_to_negatives(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
    coef: Tensor,
) -> Tensor:
    """Return, for every negative, ``sum_i coef_i H(x_j - s_i)`` over positives; 0 elsewhere.

    Arguments as in :func:`rankgrad.kernels.cpu.detection.spread_to_negatives`. A coefficient that
    is no number makes the sums of its segment NaN. Nothing here makes the host wait.
    """
    logits, targets = logits.detach().contiguous(), targets.detach().contiguous()
    scores, starts = scores.contiguous(), starts.contiguous()
    knots = knots_of(scores, starts, delta, logits.dtype)
    n, p, k, segments = logits.numel(), scores.numel(), knots.at.numel(), starts.numel() - 1
    ramp = delta > 0
    rows = scores.new_empty((_ROWS if ramp else 3, k))
    launch(
        _mark,
        ceil_div(p, _BLOCK),
        scores,
        coef.contiguous(),
        knots.delta,
        knots.enters,
        knots.leaves,
        rows,
        p,
        k,
        RAMP=ramp,
        BLOCK=_BLOCK,
    )
    total, rest = running(rows)
    level, tilt = scores.new_empty((2, k))
    launch(
        _lines,
        ceil_div(k, _BLOCK),
        starts,
        knots.delta,
        knots.at,
        total,
        rest,
        level,
        tilt,
        k,
        segments,
        search_steps(segments),
        knots.per_positive,
        RAMP=ramp,
        BLOCK=_BLOCK,
    )
    out = torch.empty_like(logits)
    launch(
        _evaluate,
        ceil_div(n, _LOGITS),
        logits,
        targets,
        None if groups is None else groups.contiguous(),
        knots.reached,
        starts,
        knots.at,
        level,
        tilt,
        out,
        n,
        k,
        knots.per_positive,
        search_steps(k),
        BLOCK=_LOGITS,
    )
    return out
