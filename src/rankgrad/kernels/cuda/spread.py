"""What each positive hands to the negatives ahead of it: one pass that evaluates straight lines."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.cells import cell_edge, cell_width, second_cell, within_cell
from rankgrad.kernels.cuda.gaps import excess, gaps
from rankgrad.kernels.cuda.knots import knots_of, segment_of
from rankgrad.kernels.cuda.launch import ceil_div, launch, search_steps
from rankgrad.kernels.cuda.running import between, running

__all__ = ["spread_to_negatives"]

_LOGITS = 1024  # to a program
_BLOCK = 128  # positives to a program


@triton.jit(do_not_specialize=["p"])
def _terms(scores, coef, half_width, rows, p, RAMP: tl.constexpr, BLOCK: tl.constexpr):
    """Write coefficients, which of them are no number, and their levers within their cell."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < p
    s = tl.load(scores + i, mask=live, other=0.0)
    c = tl.load(coef + i, mask=live, other=0.0)
    spoilt = (c - c != 0.0) | (s != s)
    c = tl.where(spoilt, 0.0, c)
    tl.store(rows + i, c, mask=live)
    tl.store(rows + p + i, spoilt.to(tl.float64), mask=live)
    if RAMP:
        cell = cell_width(2.0 * tl.load(half_width))
        tl.store(rows + 2 * p + i, c * within_cell(s, cell), mask=live)


@triton.jit
def _line(scores, total, rest, x, begin, first, last, width, live, p, steps):
    """Return the value at ``x`` and the slope where the ramps ``first .. last`` are open."""
    inside = between(total, rest, first, last, live)
    row = 2 * (p + 1)
    lever = between(total + row, rest + row, first, last, live)
    cell = cell_width(width)
    edge = cell_edge(tl.load(scores + first, mask=live & (first < last), other=0.0), cell)
    turn = second_cell(scores, first, tl.where(live, last, first), edge, cell, steps)
    lever += inside * (edge - x) + between(total, rest, turn, last, live) * cell
    finite = live & (x - x == 0.0)
    level = between(total, rest, begin, first, live) + 0.5 * inside
    return level - tl.where(finite, lever, 0.0) / width, inside / width


@triton.jit(
    do_not_specialize=["p", "segments", "segment_steps", "steps"],
    do_not_specialize_on_alignment=["total", "rest", "level", "tilt"],
)
def _lines(
    scores, starts, half_width, at, enters, leaves, total, rest, level, tilt,
    p, segments, segment_steps, steps, RAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write ``sum_i coef_i H(x - s_i)`` by gap: its value at the knot below and its slope.

    The knots of a segment come in the order of its positives, first ones and second ones alike. So
    knot ``k``, the first one of positive ``i``, has the second knots of ``k - i`` positives below,
    counted from the first segment on, and the ramps ``k - i .. i + 1`` are open above it.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < p
    group = segment_of(i, starts, segments, segment_steps)
    begin = tl.load(starts + group, mask=live, other=0)
    end = tl.load(starts + group + 1, mask=live, other=0)
    spoilt = between(total + p + 1, rest + p + 1, begin, end, live) > 0.0
    enter = tl.load(enters + i, mask=live, other=0)
    if RAMP:
        width = 2.0 * tl.load(half_width)
        x = tl.load(at + enter, mask=live, other=0.0)
        line, steep = _line(scores, total, rest, x, begin, enter - i, i + 1, width, live, p, steps)
        tl.store(tilt + enter, steep, mask=live)
        leave = tl.load(leaves + i, mask=live, other=0)
        x = tl.load(at + leave, mask=live, other=0.0)
        after, steep = _line(scores, total, rest, x, begin, i + 1, leave - i, width, live, p, steps)
        tl.store(tilt + leave, steep, mask=live)
        tl.store(level + leave, tl.where(spoilt, float("nan"), after), mask=live)
    else:
        line = between(total, rest, begin, i + 1, live)
        tl.store(tilt + enter, tl.zeros([BLOCK], tl.float64), mask=live)
    tl.store(level + enter, tl.where(spoilt, float("nan"), line), mask=live)


@triton.jit(do_not_specialize=["per_positive", "steps"])
def _evaluate(
    logits, targets, groups, reached, starts, at, level, tilt, out,
    n, per_positive, steps, BLOCK: tl.constexpr,
):  # fmt: skip
    i, x, keep, gap, group, lost = gaps(
        logits, targets, groups, reached, starts, n, per_positive, steps, BLOCK
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

    Arguments as in :func:`rankgrad.kernels.cpu.spread.spread_to_negatives`. A coefficient that
    is no number makes the sums of its segment NaN. Nothing here makes the host wait.
    """
    logits, targets = logits.detach().contiguous(), targets.detach().contiguous()
    scores, starts = scores.contiguous(), starts.contiguous()
    knots = knots_of(scores, starts, delta, logits.dtype)
    n, p, k, segments = logits.numel(), scores.numel(), knots.at.numel(), starts.numel() - 1
    ramp = delta > 0
    rows = scores.new_empty((3 if ramp else 2, p))
    constants = {"RAMP": ramp, "BLOCK": _BLOCK}
    programs = ceil_div(p, _BLOCK)
    launch(_terms, programs, scores, coef.contiguous(), knots.delta, rows, p, **constants)
    total, rest = running(rows)
    level, tilt = scores.new_empty((2, k))
    launch(
        _lines,
        programs,
        scores,
        starts,
        knots.delta,
        knots.at,
        knots.enters,
        knots.leaves,
        total,
        rest,
        level,
        tilt,
        p,
        segments,
        search_steps(segments),
        search_steps(p),
        **constants,
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
        knots.per_positive,
        search_steps(k),
        BLOCK=_LOGITS,
    )
    return out
