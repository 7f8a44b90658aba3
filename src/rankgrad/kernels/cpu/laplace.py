"""Sums of Laplace distribution functions over pairs of sorted lists, by two decaying running sums.

Going down the list, ``U = sum over keys above of w exp(-(k - q) / t)`` shrinks by the gap to the
next query and grows by the keys passed on the way: ``O(q + k)``, and nothing can overflow.
"""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.compensated import plus
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.nans import holds_nan

__all__ = ["laplace_sums"]


@jit()
def laplace_sums(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: Any, last: Any, value: Any, slope: Any, temperature: Any,
) -> None:  # fmt: skip
    """Write ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``; see :mod:`.ramp`."""
    rate = 1.0 / temperature
    run = np.searchsorted(starts, first, side="right") - 1
    while run < low.shape[0] and starts[run] < last:
        begin, end = max(starts[run], first), min(starts[run + 1], last)
        bottom, top = low[run], high[run]
        run += 1
        broken = holds_nan(ks, bottom, top)
        tail, at = 0.0, np.inf  # the decaying sum over keys above, as seen from `at`
        whole, error = 0.0, 0.0
        j = top
        for i in range(end - 1, begin - 1, -1):
            x = np.float64(qs[i])
            if broken or x != x:
                value[q_to[i]] = np.nan
                slope[q_to[i]] = np.nan
                continue
            while j > bottom and ks[j - 1] > x:
                j -= 1
                key = np.float64(ks[j])
                weight = 1.0 if ws is None else np.float64(ws[j])
                if key != at:
                    tail *= np.exp((key - at) * rate)
                    at = key
                tail += weight
                whole, error = plus(whole, error, weight)
            if x != at:
                tail *= np.exp((x - at) * rate)
                at = x
            value[q_to[i]] = whole + (error - 0.5 * tail)
            slope[q_to[i]] = 0.5 * rate * tail
        if broken:
            continue
        tail, at = 0.0, -np.inf
        j = bottom
        for i in range(begin, end):
            x = np.float64(qs[i])
            if x != x:
                continue
            while j < top and ks[j] <= x:
                key = np.float64(ks[j])
                if key != at:
                    tail *= np.exp((at - key) * rate)
                    at = key
                tail += 1.0 if ws is None else np.float64(ws[j])
                j += 1
            if x != at:
                tail *= np.exp((at - x) * rate)
                at = x
            value[q_to[i]] += 0.5 * tail
            slope[q_to[i]] += 0.5 * rate * tail
