"""Sums of logistic, normal and Cauchy distribution functions over pairs, in nearly linear time.

These comparisons are analytic, so that over a stretch of about a temperature they are polynomials
of degree 20 or so to the last digit of a float64. Both lists are cut into cells that wide. A cell
with many keys is replaced by a few keys at Chebyshev points whose weights have the same moments; a
cell with many queries is served by the sums at its Chebyshev points and a polynomial through them.
Sparse cells keep their own points. What is left are pairs of representatives, evaluated in vectors
by :mod:`.smooth_pairs`, except where the comparison is 0 or 1 to the last digit.
"""

import math
from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.nans import holds_nan
from rankgrad.kernels.cpu.smooth_cells import chebyshev, cut, representatives, series
from rankgrad.kernels.cpu.smooth_pairs import CAUCHY, LOGISTIC, NORMAL, power, steps, sums_at

__all__ = ["smooth_sums"]

# code; the slope at 0; beyond `reach` temperatures the comparison is 0 or 1; cells are `width`
# temperatures wide and have so many points for float32 and float64 data. The nearest pole of the
# function (pi for the logistic, 1 for the Cauchy, none for the normal) and the width set the error:
# an ellipse of radius r leaves r**-points, here below 2e-9 and 1e-15.
_SETTINGS = {
    "logistic": (LOGISTIC, 0.25, 40.0, 2.0, (12, 20)),
    "normal": (NORMAL, 1.0 / math.sqrt(2.0 * math.pi), 9.0, 2.0, (12, 20)),
    "cauchy": (CAUCHY, 1.0 / math.pi, math.inf, 1.0, (14, 24)),
}
_SPAN = 300.0  # temperatures over which keys have their exponentials from one origin
_LARGEST = 1.7e308
_VECTORS = 32  # keys that the loops over pairs take at once


def smooth_sums(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: int, last: int, value: Any, slope: Any, kind: str, temperature: float,
    want_value: bool, want_slope: bool,
) -> None:  # fmt: skip
    """Write ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``; see :mod:`.ramp`.

    What is not wanted is left undefined.
    """
    code, flat, reach, width, degrees = _SETTINGS[kind]
    waves = chebyshev(degrees[qs.dtype == np.float64])
    step, rest = steps(temperature)
    _smooth(
        qs, ks, ws, q_to, starts, low, high, first, last, value, slope, want_value, want_slope,
        code, flat, reach, width, waves, temperature, step, rest,
    )  # fmt: skip


@jit(forceinline=True)
def _prepare(
    place: Any, weight: Any, count: Any, above: Any, powers: Any, ends: Any,
    code: Any, rate: Any, step: Any, rest: Any, span: Any,
) -> Any:  # fmt: skip
    """Pad the keys to whole vectors; write their sums from above, and exponentials.

    Keys share the origin of these up to a place where the next one begins: ``ends``. Return how
    many keys there are now.
    """
    n = (count + _VECTORS - 1) // _VECTORS * _VECTORS if count > _VECTORS // 2 else count
    if n > count:
        place[count:n], weight[count:n] = place[count - 1], 0.0
    above[n] = 0.0
    for j in range(n - 1, -1, -1):
        above[j] = above[j + 1] + weight[j]
    ends[0] = n
    if code == LOGISTIC:
        blocks = cut(place, 0, n, span, ends)
        for block in range(blocks):
            first, ends[block] = ends[block], ends[block + 1]
            for j in range(first, ends[block]):
                powers[j] = power(place[j], place[first], rate, step, rest)
    return n


@jit(forceinline=True)
def _sums(
    xs: Any, place: Any, weight: Any, above: Any, powers: Any, ends: Any,
    code: Any, reach: Any, rate: Any, step: Any, rest: Any, want_value: Any,
    values: Any, slopes: Any,
) -> None:  # fmt: skip
    """Write the sums over all keys at the ascending ``xs``."""
    n = place.shape[0]
    lo = hi = block = 0
    for i in range(xs.shape[0]):
        x = xs[i]
        while hi < n and (place[hi] - x) * rate <= reach:
            hi += 1
        while lo < hi and (place[lo] - x) * rate < -reach:
            lo += 1
        while lo < hi and ends[block] <= lo:
            block += 1
        total, density = 0.0, 0.0
        at, part = lo, block
        while at < hi:
            # Whole vectors, with some keys out of reach: what is left over of them takes longer.
            first = ends[part - 1] if part > 0 else 0
            begin = first + (at - first) // _VECTORS * _VECTORS
            at = min(first + (hi - first + _VECTORS - 1) // _VECTORS * _VECTORS, ends[part])
            here = power(x, place[first], rate, step, rest) if code == LOGISTIC else 0.0
            h, d = sums_at(
                x, here, place[begin:at], powers[begin:at], weight[begin:at], code, rate, want_value
            )
            total += h
            density += d
            part += 1
        values[i], slopes[i] = total + above[at], density


@jit(forceinline=True)
def _represent_queries(qs: Any, edges: Any, cells: Any, waves: Any, xs: Any) -> Any:
    """Write the places that the sums of the queries are taken at; return how many."""
    degree = waves.shape[0]
    count = 0
    for cell in range(cells):
        a, b = edges[cell], edges[cell + 1]
        half = 0.5 * (np.float64(qs[b - 1]) - qs[a])
        if half == 0.0:
            xs[count] = qs[a]
            count += 1
        elif b - a <= degree:
            for i in range(a, b):
                xs[count] = qs[i]
                count += 1
        else:
            for m in range(degree):
                xs[count] = (qs[a] + half) + half * waves[1, m]
                count += 1
    return count


@jit()
def _smooth(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: Any, last: Any, value: Any, slope: Any, want_value: Any, want_slope: Any,
    code: Any, flat: Any, reach: Any, width: Any, waves: Any, temperature: Any, step: Any,
    rest: Any,
) -> None:  # fmt: skip
    rate = min(1.0 / temperature, _LARGEST)
    degree = waves.shape[0]
    coef = np.empty(degree)
    # Room for the longest run: with many short ones it is the allocations that take the time.
    keys, queries = 0, 0
    for g in range(low.shape[0]):
        if starts[g] < last and starts[g + 1] > first:
            keys = max(keys, high[g] - low[g])
            queries = max(queries, starts[g + 1] - starts[g])
    keys += _VECTORS
    edges = np.empty(max(keys, queries) + 1, np.int64)
    places, weights, above, powers = (
        np.empty(keys), np.empty(keys), np.empty(keys + 1), np.empty(keys)
    )  # fmt: skip
    ends = np.empty(keys + 1, np.int64)
    xs, at_points = np.empty(queries), np.empty((2, queries))
    run = np.searchsorted(starts, first, side="right") - 1
    while run < low.shape[0] and starts[run] < last:
        begin, end = max(starts[run], first), min(starts[run + 1], last)
        bottom, top = low[run], high[run]
        run += 1
        if holds_nan(ks, bottom, top):
            for i in range(begin, end):
                value[q_to[i]] = np.nan
                slope[q_to[i]] = np.nan
            continue
        while end > begin and qs[end - 1] != qs[end - 1]:
            end -= 1
            value[q_to[end]] = np.nan
            slope[q_to[end]] = np.nan
        while end > begin and qs[begin] != qs[begin]:
            value[q_to[begin]] = np.nan
            slope[q_to[begin]] = np.nan
            begin += 1
        # Infinite keys are a whole step away from finite queries and tie with their like.
        lowest, highest = 0.0, 0.0
        while bottom < top and ks[bottom] == -np.inf:
            lowest += 1.0 if ws is None else np.float64(ws[bottom])
            bottom += 1
        while bottom < top and ks[top - 1] == np.inf:
            top -= 1
            highest += 1.0 if ws is None else np.float64(ws[top])
        count = representatives(
            ks, ws, bottom, top, width * temperature, waves, coef, edges, places, weights
        )
        n = _prepare(
            places, weights, count, above, powers, ends, code, rate, step, rest,
            _SPAN * temperature,
        )  # fmt: skip
        while begin < end and qs[begin] == -np.inf:
            value[q_to[begin]] = 0.5 * lowest + above[0] + highest
            slope[q_to[begin]] = lowest * flat * rate
            begin += 1
        while begin < end and qs[end - 1] == np.inf:
            end -= 1
            value[q_to[end]] = 0.5 * highest
            slope[q_to[end]] = highest * flat * rate
        cells = cut(qs, begin, end, width * temperature, edges)
        count = _represent_queries(qs, edges, cells, waves, xs)
        _sums(
            xs[:count], places[:n], weights, above, powers, ends, code, reach, rate, step, rest,
            want_value, at_points[0], at_points[1],
        )  # fmt: skip
        here = 0
        for cell in range(cells):
            a, b = edges[cell], edges[cell + 1]
            half = 0.5 * (np.float64(qs[b - 1]) - qs[a])
            if b - a <= degree or half == 0.0:
                for i in range(a, b):
                    value[q_to[i]] = at_points[0, here] + highest
                    slope[q_to[i]] = at_points[1, here] * rate
                    here += half > 0.0
                here += half == 0.0
                continue
            for part in range(2):
                if not (want_value if part == 0 else want_slope):
                    continue
                for d in range(degree):
                    total = 0.0
                    for m in range(degree):
                        total += at_points[part, here + m] * waves[d, m]
                    coef[d] = total * (2.0 if d > 0 else 1.0) / degree
                centre = qs[a] + half
                if part == 0:
                    coef[0] += highest
                    series(qs, a, b, centre, 1.0 / half, coef, q_to, 1.0, value)
                else:
                    series(qs, a, b, centre, 1.0 / half, coef, q_to, rate, slope)
            here += degree
