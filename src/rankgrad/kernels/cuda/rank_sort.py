"""The sums among positives behind Rank & Sort loss: one launch each way, tile by tile."""

import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.knots import segment_of
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.reference.rank_sort import EPS

__all__ = ["rank_sort_errors", "rank_sort_pulls"]

_ROWS = 16  # positives to a program
_COLUMNS = 64  # partners looked at at once


@triton.jit
def own_range(scores, quality, starts, p, segments, steps, ROWS: tl.constexpr):
    """Return the positives of a program, which of them are there, their scores and targets.

    And where the segment of each begins and ends, and where all of these do.
    """
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = i < p
    s = tl.load(scores + i, mask=live, other=0.0)
    t = tl.load(quality + i, mask=live, other=0.0)
    group = segment_of(i, starts, segments, steps)
    begin = tl.load(starts + group, mask=live, other=0)
    end = tl.load(starts + group + 1, mask=live, other=0)
    stop = tl.max(end, axis=0)
    return i, live, s, t, begin, end, tl.min(tl.where(live, begin, stop), axis=0), stop


@triton.jit
def _compare(low, high, delta, RAMP: tl.constexpr):
    """Return ``H(high - low)``; infinities are only ever tied, and NaN stays."""
    gap = tl.where(high == low, 0.0, high - low)
    if RAMP:
        h = gap / (2.0 * delta) + 0.5
        h = tl.where(h > 1.0, 1.0, tl.where(h < 0.0, 0.0, h))
    else:
        h = tl.where(gap != gap, gap, (gap >= 0.0).to(tl.float64))
    return h


@triton.jit(do_not_specialize=["p", "segments", "steps"])
def _errors(
    scores, quality, ahead, starts, half_width, out, p, segments, steps,
    EPS: tl.constexpr, RAMP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i, live, s, t, begin, end, start, stop = own_range(
        scores, quality, starts, p, segments, steps, ROWS
    )
    delta = tl.load(half_width)
    good = tl.zeros([ROWS, COLUMNS], tl.float64)
    bad = tl.zeros([ROWS, COLUMNS], tl.float64)
    good_loss = tl.zeros([ROWS, COLUMNS], tl.float64)
    bad_loss = tl.zeros([ROWS, COLUMNS], tl.float64)
    for first in range(start, stop, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        other = tl.load(scores + j, mask=j < stop, other=0.0)
        target = tl.load(quality + j, mask=j < stop, other=0.0)
        h = _compare(s[:, None], other[None, :], delta, RAMP)
        partner = (j[None, :] >= begin[:, None]) & (j[None, :] < end[:, None])
        as_good = target[None, :] >= t[:, None]
        h_good = tl.where(partner & as_good, h, 0.0)
        h_bad = tl.where(partner & (as_good == 0), h, 0.0)
        loss = (1.0 - target)[None, :]
        good += h_good
        bad += h_bad
        good_loss += h_good * loss
        bad_loss += h_bad * loss
    better, missorted = tl.sum(good, axis=1), tl.sum(bad, axis=1)
    better_loss = tl.sum(good_loss, axis=1)
    among, among_loss = better + missorted, better_loss + tl.sum(bad_loss, axis=1)
    a = tl.load(ahead + i, mask=live, other=0.0)
    rank = a + among
    ranking = a / rank
    gate = (a <= tl.full([ROWS], EPS, tl.float64)) == 0  # as it stands, it would be a float32
    tl.store(out + i, ranking, mask=live)
    tl.store(out + p + i, among_loss / among - better_loss / better, mask=live)
    tl.store(out + 2 * p + i, tl.where(gate, ranking, 0.0), mask=live)
    tl.store(out + 3 * p + i, tl.where(gate, 1.0 / rank, 0.0), mask=live)
    tl.store(out + 4 * p + i, tl.where(among != among, among, missorted), mask=live)


@triton.jit
def _shared(facts, cotangents, i, live, p, EPS: tl.constexpr, BLOCK: tl.constexpr):
    """Return the mass that positives hand down, and the part for a whole partner of it."""
    sorting = tl.load(facts + 2 * p + i, mask=live, other=0.0)
    missorted = tl.load(facts + 3 * p + i, mask=live, other=0.0)
    gate = (missorted <= tl.full([BLOCK], EPS, tl.float64)) == 0
    mass = tl.where(gate, tl.load(cotangents + p + i, mask=live, other=0.0) * sorting, 0.0)
    return mass, tl.where(gate, mass / missorted, 0.0)


@triton.jit(
    do_not_specialize=["p", "segments", "steps"],
    do_not_specialize_on_alignment=["facts", "cotangents"],
)
def _pulls(
    scores, quality, facts, cotangents, starts, half_width, out, p, segments, steps,
    EPS: tl.constexpr, RAMP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i, live, s, t, begin, end, start, stop = own_range(
        scores, quality, starts, p, segments, steps, ROWS
    )
    delta = tl.load(half_width)
    taken = tl.zeros([ROWS, COLUMNS], tl.float64)
    for first in range(start, stop, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        inside = j < stop
        other = tl.load(scores + j, mask=inside, other=0.0)
        target = tl.load(quality + j, mask=inside, other=0.0)
        unused, share = _shared(facts, cotangents, j, inside, p, EPS, COLUMNS)
        h = _compare(other[None, :], s[:, None], delta, RAMP)
        partner = (j[None, :] >= begin[:, None]) & (j[None, :] < end[:, None])
        partner = partner & (target[None, :] > t[:, None]) & (h != 0.0)
        taken += tl.where(partner, h * share[None, :], 0.0)  # a NaN reaches its partners only
    mass, unused = _shared(facts, cotangents, i, live, p, EPS, ROWS)
    weight = tl.load(cotangents + i, mask=live, other=0.0)
    pull = weight * tl.load(facts + i, mask=live, other=0.0) + (mass - tl.sum(taken, axis=1))
    push = weight * tl.load(facts + p + i, mask=live, other=0.0)
    tl.store(out + i, pull, mask=live)
    tl.store(out + p + i, push, mask=live)


def rank_sort_errors(
    scores: Tensor, quality: Tensor, ahead: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return errors and facts as :func:`rankgrad.kernels.reference.rank_sort_errors` does.

    ``O(p^2)`` time and ``O(p)`` memory.
    """
    out = scores.new_empty((5, scores.shape[0]))
    _tiled(_errors, scores, (quality, ahead), starts, delta, out)
    return out


def rank_sort_pulls(
    scores: Tensor, quality: Tensor, facts: Tensor, cotangents: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return pulls and pushes as :func:`rankgrad.kernels.reference.rank_sort_pulls` does."""
    out = scores.new_empty((2, scores.shape[0]))
    _tiled(_pulls, scores, (quality, facts, cotangents), starts, delta, out)
    return out


def _tiled(
    kernel: triton.JITFunction,
    scores: Tensor,
    given: tuple[Tensor, ...],
    starts: Tensor,
    delta: float,
    out: Tensor,
) -> None:
    p, segments = scores.shape[0], starts.shape[0] - 1
    launch(
        kernel,
        ceil_div(p, _ROWS),
        scores.contiguous(),
        *(x.contiguous() for x in given),
        starts.contiguous(),
        scalar(min(max(delta, 1e-300), 4e307), scores),
        out,
        p,
        segments,
        search_steps(segments),
        EPS=EPS,
        RAMP=delta > 0,
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
    )
