"""Sums of steps and ramps over pairs of sorted lists, by a window that slides over the keys.

All walks go through the queries of one run from the largest down. ``q_to`` says where the result
of a query goes. ``starts[g] .. starts[g + 1]`` are the queries of run ``g`` and
``low[g] .. high[g]`` its keys, both ascending. Only the queries ``first .. last`` are served, so
that several threads can share a call.
"""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.compensated import plus
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.nans import holds_nan

__all__ = ["ramp_sums", "step_sums"]


@jit()
def step_sums(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: Any, last: Any, value: Any, slope: Any, tie: Any,
) -> None:  # fmt: skip
    """Write ``sum_j w_j step(k_j - q_i)``; the slope of a step is zero."""
    run = np.searchsorted(starts, first, side="right") - 1
    while run < low.shape[0] and starts[run] < last:
        begin, end = max(starts[run], first), min(starts[run + 1], last)
        bottom, top = low[run], high[run]
        run += 1
        broken = holds_nan(ks, bottom, top)
        above, above_rest = 0.0, 0.0
        tied, tied_rest = 0.0, 0.0
        hi = lo = top  # keys above the query start at hi, tied ones at lo
        for i in range(end - 1, begin - 1, -1):
            x = qs[i]
            slope[q_to[i]] = 0.0
            if broken or x != x:
                value[q_to[i]] = np.nan
                slope[q_to[i]] = np.nan
                continue
            if hi > lo and ks[hi - 1] > x:
                above, above_rest = plus(above, above_rest, tied)
                above_rest += tied_rest
                tied, tied_rest = 0.0, 0.0
                hi = lo
            while lo > bottom and ks[lo - 1] > x:
                lo -= 1
                above, above_rest = plus(above, above_rest, 1.0 if ws is None else ws[lo])
                hi = lo
            while lo > bottom and ks[lo - 1] == x:
                lo -= 1
                tied, tied_rest = plus(tied, tied_rest, 1.0 if ws is None else ws[lo])
            value[q_to[i]] = (above + tie * tied) + (above_rest + tie * tied_rest)


@jit()
def ramp_sums(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: Any, last: Any, value: Any, slope: Any, half_width: Any,
) -> None:  # fmt: skip
    """Write ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)`` for the ramp ``H``.

    Keys at least a half width above the query count whole; those inside the window count by
    their weight ``inside`` and their lever ``sum w (k - anchor)``, which is kept about an anchor
    near the query so that large scores cost no digits.
    """
    run = np.searchsorted(starts, first, side="right") - 1
    while run < low.shape[0] and starts[run] < last:
        begin, end = max(starts[run], first), min(starts[run + 1], last)
        bottom, top = low[run], high[run]
        run += 1
        broken = holds_nan(ks, bottom, top)
        whole, whole_rest = 0.0, 0.0
        inside, inside_rest = 0.0, 0.0
        lever, lever_rest = 0.0, 0.0
        anchor = 0.0
        infinite, total, tied = 0.0, 0.0, 0.0
        hi = lo = top  # the window is lo .. hi
        for i in range(end - 1, begin - 1, -1):
            x = np.float64(qs[i])
            if broken or x != x:
                value[q_to[i]] = np.nan
                slope[q_to[i]] = np.nan
                continue
            if np.isinf(x):  # finite keys are a whole step away, equal infinities tie
                if x != infinite:  # the first of its kind
                    infinite, total, tied = x, 0.0, 0.0
                    for j in range(bottom, top):
                        weight = 1.0 if ws is None else np.float64(ws[j])
                        if ks[j] == x:
                            tied += weight
                        elif x < 0:
                            total += weight
                value[q_to[i]] = total + 0.5 * tied
                slope[q_to[i]] = tied / (2.0 * half_width)
                continue
            # Differences, not x +- half_width: those round to x where scores are huge.
            while hi > lo and ks[hi - 1] - x >= half_width:
                hi -= 1
                weight = 1.0 if ws is None else np.float64(ws[hi])
                whole, whole_rest = plus(whole, whole_rest, weight)
                inside, inside_rest = plus(inside, inside_rest, -weight)
                lever, lever_rest = plus(lever, lever_rest, -weight * (ks[hi] - anchor))
            if hi == lo:
                inside, inside_rest, lever, lever_rest = 0.0, 0.0, 0.0, 0.0
                anchor = x
                while lo > bottom and ks[lo - 1] - x >= half_width:
                    lo -= 1
                    weight = 1.0 if ws is None else np.float64(ws[lo])
                    whole, whole_rest = plus(whole, whole_rest, weight)
                hi = lo
            elif anchor - x > half_width:
                lever, lever_rest = plus(lever, lever_rest, inside * (anchor - x))
                lever_rest += inside_rest * (anchor - x)
                anchor = x
            while lo > bottom and x - ks[lo - 1] < half_width:
                lo -= 1
                weight = 1.0 if ws is None else np.float64(ws[lo])
                inside, inside_rest = plus(inside, inside_rest, weight)
                lever, lever_rest = plus(lever, lever_rest, weight * (ks[lo] - anchor))
            density = inside + inside_rest
            rise = ((lever + lever_rest) + density * (anchor - x)) / (2.0 * half_width)
            value[q_to[i]] = whole + (whole_rest + (rise + 0.5 * density))
            slope[q_to[i]] = density / (2.0 * half_width)
