"""Running sums along rows in twice the working precision, always in the same order.

``torch.cumsum`` of floats on CUDA is not repeatable, and its repeatable stand-in builds an n x n
matrix. Differences of running sums also cancel: what float64 rounds off over a million elements
shows in a narrow window. So each sum is kept as an unevaluated pair, about 32 digits.

A lane adds up some neighbouring elements in turn; the lanes' totals are running sums again. Where
a row is short, a program goes along it in one launch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch

__all__ = ["any_between", "between", "plus", "running", "weight_between"]

_STEPS = 16  # elements to a lane
_BLOCK = 128  # lanes to a program
_SHORT, _LANES = 4096, 32  # elements of a row for one program, and its lanes
# The second of two rows is aligned if the first has an even length: that compiles nothing new.
_ANYWHERE = ["x", "x_rest", "shrink", "before", "before_rest", "total", "rest"]


@triton.jit
def plus(total, rest, x):
    """Add ``x`` to the unevaluated sum ``total + rest`` without losing the rounding error."""
    new = total + x
    back = new - total
    return new, rest + ((total - (new - back)) + (x - back))


@triton.jit
def between(total, rest, a, b, live):
    """Return the sum of the elements ``a .. b``, from running sums."""
    high = tl.load(total + b, mask=live, other=0.0) - tl.load(total + a, mask=live, other=0.0)
    low = tl.load(rest + b, mask=live, other=0.0) - tl.load(rest + a, mask=live, other=0.0)
    return high + low


@triton.jit
def weight_between(total, rest, a, b, live):
    """Return the sum of the weights ``a .. b``, from running sums; their number if all are one."""
    if total is None:
        found = (b - a).to(tl.float64)
    else:
        found = between(total, rest, a, b, live)
    return found


@triton.jit
def any_between(total, a, b, live):
    """Return whether any of the elements ``a .. b`` is 1, from running sums of 0 and 1 or None."""
    if total is None:
        found = live & (a != a)
    else:
        found = tl.load(total + b, mask=live, other=0.0) > tl.load(total + a, mask=live, other=0.0)
    return found


@triton.jit
def _shrunk(total, rest, shrink, at, live):
    """Return a sum in the unit of the next element; ``shrink`` is the factor less 1."""
    if shrink is not None:
        less = tl.load(shrink + at, mask=live, other=0.0)
        total, rest = plus(total, rest + rest * less, total * less)
    return total, rest


@triton.jit
def _next(x, x_rest, high, low, at, inside):
    """Add the elements at these places, each to the sum of its lane."""
    if x_rest is not None:
        low += tl.load(x_rest + at, mask=inside, other=0.0)
    return plus(high, low, tl.load(x + at, mask=inside, other=0.0).to(tl.float64))


@triton.jit(do_not_specialize=["n", "chunks", "lanes"], do_not_specialize_on_alignment=_ANYWHERE)
def _totals(
    x, x_rest, shrink, total, rest, n, chunks, lanes, STEPS: tl.constexpr, BLOCK: tl.constexpr
):
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = lane < lanes
    row = lane // chunks
    first = (lane - row * chunks) * STEPS
    high = tl.zeros([BLOCK], tl.float64)
    low = tl.zeros([BLOCK], tl.float64)
    for step in range(STEPS):
        inside = live & (first + step < n)
        at = row * n + first + step
        high, low = _shrunk(high, low, shrink, at, inside)
        high, low = _next(x, x_rest, high, low, at, inside)
    tl.store(total + lane, high, mask=live)
    tl.store(rest + lane, low, mask=live)


@triton.jit(do_not_specialize=["n", "chunks", "lanes"], do_not_specialize_on_alignment=_ANYWHERE)
def _spread(
    x, x_rest, shrink, before, before_rest, total, rest, n, chunks, lanes,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = lane < lanes
    row = lane // chunks
    chunk = lane - row * chunks
    first = chunk * STEPS
    high = tl.zeros([BLOCK], tl.float64)
    low = tl.zeros([BLOCK], tl.float64)
    if before is not None:  # as many running sums as chunks, and one more
        high = tl.load(before + lane + row, mask=live, other=0.0)
        low = tl.load(before_rest + lane + row, mask=live, other=0.0)
    out = row * (n + 1) + first
    tl.store(total + out, high, mask=live & (chunk == 0))
    tl.store(rest + out, low, mask=live & (chunk == 0))
    for step in range(STEPS):
        inside = live & (first + step < n)
        at = row * n + first + step
        high, low = _shrunk(high, low, shrink, at, inside)
        high, low = _next(x, x_rest, high, low, at, inside)
        tl.store(total + out + step + 1, high, mask=inside)
        tl.store(rest + out + step + 1, low, mask=inside)


@triton.jit
def _together(total, rest, next_total, next_rest):
    """Add two unevaluated sums."""
    total, rest = plus(total, rest, next_total)
    return total, rest + next_rest


@triton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=_ANYWHERE)
def _short_rows(x, x_rest, total, rest, n, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """Write the running sums of a row in one program, which goes along it lane by lane."""
    row = tl.program_id(0).to(tl.int64)
    out = row * (n + 1)
    lane = tl.arange(0, BLOCK)
    carry = tl.zeros([BLOCK], tl.float64)  # what comes before the block, in every lane
    carry_rest = carry
    tl.store(total + out + lane, carry, mask=lane == 0)
    tl.store(rest + out + lane, carry, mask=lane == 0)
    for first in range(0, n, STEPS * BLOCK):
        begin = first + lane * STEPS
        # What each lane starts from: all that the lanes before it add up.
        high, low = tl.where(lane == 0, carry, 0.0), tl.where(lane == 0, carry_rest, 0.0)
        for step in range(STEPS):
            at = begin - STEPS + step
            high, low = _next(x, x_rest, high, low, row * n + at, (lane > 0) & (at < n))
        high, low = tl.associative_scan((high, low), 0, _together)
        for step in range(STEPS):
            at = begin + step
            high, low = _next(x, x_rest, high, low, row * n + at, at < n)
            tl.store(total + out + at + 1, high, mask=at < n)
            tl.store(rest + out + at + 1, low, mask=at < n)
        last = lane == BLOCK - 1
        carry = tl.zeros([BLOCK], tl.float64) + tl.sum(tl.where(last, high, 0.0), axis=0)
        carry_rest = tl.zeros([BLOCK], tl.float64) + tl.sum(tl.where(last, low, 0.0), axis=0)


def _shrink(level: Tensor | None, scale: float) -> Tensor | None:
    """Return by how much a unit shrinks from each element to the next."""
    if level is None:
        return None
    return torch.expm1(-level.diff(dim=-1, prepend=level[:, :1]) / scale)


def running(
    x: Tensor, x_rest: Tensor | None = None, level: Tensor | None = None, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the sums of the first 0, 1, ..., n elements of each row of ``x`` [rows, n].

    Each sum is the pair ``total + rest`` in float64, [rows, n + 1]. ``x_rest`` is added to ``x``.
    With ``level``, which rises, element ``i`` counts ``x_i exp(level_i / scale)``, and each sum is
    in the unit of its last element, so that nothing overflows.
    """
    rows, n = x.shape
    x = x.contiguous()
    out = x.new_empty((2, rows, n + 1), dtype=torch.float64)
    if level is None and _STEPS < n <= _SHORT:
        launch(_short_rows, rows, x, x_rest, out[0], out[1], n, STEPS=_STEPS, BLOCK=_LANES)
        return out[0], out[1]
    chunks = max(1, ceil_div(n, _STEPS))
    programs = ceil_div(rows * chunks, _BLOCK)
    sizes = {"STEPS": _STEPS, "BLOCK": _BLOCK}
    shrink = _shrink(level, scale)
    before, before_rest = None, None
    if chunks > 1:
        totals = x.new_empty((2, rows, chunks), dtype=torch.float64)
        launch(
            _totals, programs, x, x_rest, shrink, totals[0], totals[1], n, chunks, rows * chunks,
            **sizes,
        )  # fmt: skip
        last = None
        if level is not None:
            ends = torch.arange(1, chunks + 1, device=x.device) * _STEPS - 1
            last = level[:, ends.clamp(max=n - 1)]
        before, before_rest = running(totals[0], totals[1], last, scale)
    launch(
        _spread, programs, x, x_rest, shrink, before, before_rest, out[0], out[1], n, chunks,
        rows * chunks, **sizes,
    )  # fmt: skip
    return out[0], out[1]
