"""The knots of the positives: where their ramps begin and end, sorted by segment and score.

A ramp of half width ``delta`` rises from ``s - delta`` to ``s + delta``. Every sum over positives
is a straight line between neighbouring knots, and what every sum over negatives needs to know of
them is, per gap between knots, their number and by how much they exceed the lower knot.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.search import first_beyond

__all__ = ["Knots", "knots_of", "ramp_of", "segment_of"]

_BLOCK = 128


@dataclass(frozen=True)
class Knots:
    """What :func:`knots_of` returns. The gap above a knot has its number.

    Attributes:
        at: [k] float64, the knots, ascending within each segment.
        reached: [k] in the dtype of the logits, the least number that is not below the knot.
        enters, leaves: [p] the places of a positive's two knots; with ``delta`` 0 the same.
        per_positive: how many knots a positive has, 2 or with ``delta`` 0 one.
        delta: float64, on the device.
    """

    at: Tensor
    reached: Tensor
    enters: Tensor
    leaves: Tensor
    per_positive: int
    delta: Tensor


@triton.jit
def ramp_of(s, delta):
    """Return the two knots of scores, and which scores are flat.

    A score without a number between it and its knots, such as infinity, is flat: nothing but a tie
    lies within its reach. So the gap above its first knot holds its ties and nothing else. No
    number lies beyond infinity, where NaN, which nothing reaches, stands in.
    """
    flat = (s + delta == s) | (s - delta == s)
    bits = s.to(tl.int64, bitcast=True)
    beyond = (bits + tl.where(s > 0.0, 1, -1)).to(tl.float64, bitcast=True)
    beyond = tl.where(s == float("inf"), float("nan"), beyond)
    return tl.where(flat, s, s - delta), tl.where(flat, beyond, s + delta), flat


@triton.jit
def _rounded_up(x, DOUBLE: tl.constexpr):
    """Return the least number of the dtype of the logits that is not below ``x``."""
    if DOUBLE:
        up = x
    else:
        near = x.to(tl.float32)
        bits = near.to(tl.int32, bitcast=True)
        above = (bits + tl.where(near >= 0.0, 1, -1)).to(tl.float32, bitcast=True)
        up = tl.where(near.to(tl.float64) < x, above, near)
    return up


@triton.jit
def segment_of(i, starts, segments, steps):
    """Return the segment whose range holds each ``i``; ``starts`` holds one edge more."""
    low = tl.zeros_like(i)
    return first_beyond(starts, low, low + segments, i, low == 0, steps) - 1


@triton.jit(do_not_specialize=["p", "segments", "segment_steps", "steps"])
def _knots(
    scores, starts, half_width, at, reached, enters, leaves, p, segments, segment_steps, steps,
    RAMP: tl.constexpr, DOUBLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Merge the two ascending lists of knots of each segment; of equal ones the first come first.

    NaN counts as larger than every number.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < p
    s = tl.load(scores + i, mask=live, other=0.0)
    if RAMP:
        delta = tl.load(half_width)
        group = segment_of(i, starts, segments, segment_steps)
        begin = tl.load(starts + group, mask=live, other=0)
        end = tl.load(starts + group + 1, mask=live, other=0)
        enter, leave, flat = ramp_of(s, delta)
        low, high = begin, end
        for step in range(steps):
            looks = low < high
            middle = (low + high) // 2
            unused, other, flat = ramp_of(tl.load(scores + middle, mask=looks, other=0.0), delta)
            less = (other < enter) | ((enter != enter) & (other == other))
            high = tl.where(looks & (less == 0), middle, high)
            low = tl.where(looks & less, middle + 1, low)
        first = i + low
        low, high = begin, end
        for step in range(steps):
            looks = low < high
            middle = (low + high) // 2
            other, unused, flat = ramp_of(tl.load(scores + middle, mask=looks, other=0.0), delta)
            less = (other <= leave) | (leave != leave)
            high = tl.where(looks & (less == 0), middle, high)
            low = tl.where(looks & less, middle + 1, low)
        second = i + low
        tl.store(at + second, leave, mask=live)
        tl.store(reached + second, _rounded_up(leave, DOUBLE), mask=live)
    else:
        enter, first, second = s, i, i
    tl.store(at + first, enter, mask=live)
    tl.store(reached + first, _rounded_up(enter, DOUBLE), mask=live)
    tl.store(enters + i, first, mask=live)
    tl.store(leaves + i, second, mask=live)


def knots_of(scores: Tensor, starts: Tensor, delta: float, dtype: torch.dtype) -> Knots:
    """Return the knots of positives with ``scores`` [p], sorted within segments, float64."""
    p, segments = scores.numel(), starts.numel() - 1
    per_positive = 2 if delta > 0 else 1
    at = scores.new_empty(p * per_positive)
    knots = Knots(
        at,
        scores.new_empty(at.shape, dtype=dtype),
        starts.new_empty(p),
        starts.new_empty(p),
        per_positive,
        scalar(min(max(delta, 1e-300), 4e307), scores),
    )
    launch(
        _knots,
        ceil_div(p, _BLOCK),
        scores,
        starts,
        knots.delta,
        knots.at,
        knots.reached,
        knots.enters,
        knots.leaves,
        p,
        segments,
        search_steps(segments),
        search_steps(p),
        RAMP=delta > 0,
        DOUBLE=dtype == torch.float64,
        BLOCK=_BLOCK,
    )
    return knots
