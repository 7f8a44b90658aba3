"""Sums of logistic, normal and Cauchy distribution functions over pairs, in nearly linear time.

These comparisons are analytic, so that over a stretch of about a temperature they are polynomials
of degree 20 or so to the last digit of a float64. Both lists are cut into cells that wide. A cell
with many keys is replaced by a few keys at Chebyshev points whose weights have the same moments; a
cell with many queries is served by the sums at its Chebyshev points and a polynomial through them.
Sparse cells keep their own points. What is left are pairs of representatives, evaluated one by one,
except where the comparison is 0 or 1 to the last digit.
"""

import math
from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.nans import holds_nan

__all__ = ["smooth_sums"]

# code; beyond `reach` temperatures the comparison is 0 or 1; cells are `width` temperatures wide
# and have so many points for float32 and float64 data. The nearest pole of the function (pi for the
# logistic, 1 for the Cauchy, none for the normal) and the width set the error: an ellipse of radius
# r leaves r**-points, here below 2e-9 and 1e-15.
_SETTINGS = {
    "logistic": (0, 40.0, 2.0, (12, 20)),
    "normal": (1, 9.0, 2.0, (12, 20)),
    "cauchy": (2, math.inf, 1.0, (14, 24)),
}
_BLOCK = 512  # points whose polynomials are evaluated together


def smooth_sums(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: int, last: int, value: Any, slope: Any, kind: str, temperature: float,
) -> None:  # fmt: skip
    """Write ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``; see :mod:`.ramp`."""
    code, reach, width, degrees = _SETTINGS[kind]
    degree = degrees[qs.dtype == np.float64]
    _smooth(
        qs, ks, ws, q_to, starts, low, high, first, last, value, slope,
        code, reach, width, degree, temperature,
    )  # fmt: skip


@jit()
def _compare(z: Any, code: Any) -> Any:
    """Return ``H(z)`` and ``H'(z)`` at temperature 1."""
    if code == 0:
        e = np.exp(-abs(z))
        tail = e / (1.0 + e)
        return (1.0 - tail if z > 0 else tail), tail * (1.0 - tail)
    if code == 1:
        density = np.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))
        return 0.5 * math.erfc(-z * math.sqrt(0.5)), density
    return 0.5 + np.arctan(z) / math.pi, 1.0 / (math.pi * (1.0 + z * z))


@jit()
def _cut(x: Any, begin: Any, end: Any, width: Any) -> Any:
    """Return where the cells of the sorted ``x[begin:end]`` start; each spans at most ``width``."""
    edges = np.empty(end - begin + 1, np.int64)
    count = 0
    at = begin
    while at < end:
        edges[count] = at
        count += 1
        stop = np.float64(x[at]) + width
        step = 1
        while at + step < end and x[at + step] <= stop:  # gallop, then halve
            step *= 2
        inside, beyond = at + step // 2, min(at + step, end)
        while beyond - inside > 1:
            middle = (inside + beyond) >> 1
            if x[middle] <= stop:
                inside = middle
            else:
                beyond = middle
        at = inside + 1
    edges[count] = end
    return edges[: count + 1]


@jit(fastmath={"reassoc", "contract", "nsz"})
def _moments(x: Any, w: Any, begin: Any, end: Any, centre: Any, scale: Any, out: Any) -> None:
    """Write ``sum_j w_j T_n((x_j - centre) * scale)`` for the Chebyshev polynomials ``T_n``."""
    t = np.empty(_BLOCK)
    older = np.empty(_BLOCK)
    newer = np.empty(_BLOCK)
    out[:] = 0.0
    for block in range(begin, end, _BLOCK):
        n = min(_BLOCK, end - block)
        total = 0.0
        for i in range(n):
            t[i] = (x[block + i] - centre) * scale
            older[i] = 1.0 if w is None else np.float64(w[block + i])
            newer[i] = t[i] * older[i]
            total += older[i]
        out[0] += total
        for degree in range(1, out.shape[0]):
            total = 0.0
            for i in range(n):
                total += newer[i]
                following = 2.0 * t[i] * newer[i] - older[i]
                older[i] = newer[i]
                newer[i] = following
            out[degree] += total


@jit(fastmath={"reassoc", "contract", "nsz"})
def _series(
    x: Any, begin: Any, end: Any, centre: Any, scale: Any, coef: Any, to: Any, factor: Any, out: Any
) -> None:
    """Write ``factor * sum_n coef_n T_n((x_j - centre) * scale)`` to ``out[to[j]]``."""
    t = np.empty(_BLOCK)
    older = np.empty(_BLOCK)
    newer = np.empty(_BLOCK)
    degree = coef.shape[0] - 1
    for block in range(begin, end, _BLOCK):
        n = min(_BLOCK, end - block)
        for i in range(n):
            t[i] = 2.0 * (x[block + i] - centre) * scale
            older[i] = 0.0
            newer[i] = coef[degree]
        for d in range(degree - 1, 0, -1):
            for i in range(n):
                following = coef[d] + t[i] * newer[i] - older[i]
                older[i] = newer[i]
                newer[i] = following
        for i in range(n):
            out[to[block + i]] = factor * (coef[0] + 0.5 * t[i] * newer[i] - older[i])


@jit()
def _represent_keys(x: Any, w: Any, begin: Any, end: Any, width: Any, waves: Any) -> Any:
    """Return places and weights that stand for the keys ``x[begin:end]``, in cells that ascend."""
    degree = waves.shape[0]
    edges = _cut(x, begin, end, width)
    place = np.empty(end - begin)
    weight = np.empty(end - begin)
    moments = np.empty(degree)
    count = 0
    for cell in range(edges.shape[0] - 1):
        a, b = edges[cell], edges[cell + 1]
        half = 0.5 * (np.float64(x[b - 1]) - x[a])
        if b - a <= degree or half == 0.0:
            if half == 0.0:
                total = 0.0
                for j in range(a, b):
                    total += 1.0 if w is None else np.float64(w[j])
                place[count], weight[count] = x[a], total
                count += 1
                continue
            for j in range(a, b):
                place[count] = x[j]
                weight[count] = 1.0 if w is None else np.float64(w[j])
                count += 1
            continue
        centre = x[a] + half
        _moments(x, w, a, b, centre, 1.0 / half, moments)
        for m in range(degree):
            place[count] = centre + half * waves[1, m]
            total = moments[0]
            for n in range(1, degree):
                total += 2.0 * waves[n, m] * moments[n]
            weight[count] = total / degree
            count += 1
    return place[:count], weight[:count]


@jit()
def _sum_at(x: Any, place: Any, running: Any, weight: Any, window: Any, code: Any, reach: Any,
            rate: Any) -> Any:  # fmt: skip
    """Return the sums over all representatives; ``window`` remembers the last query's bounds."""
    lo, hi = window[0], window[1]
    n = place.shape[0]
    while hi > 0 and (place[hi - 1] - x) * rate > reach:
        hi -= 1
    while hi < n and (place[hi] - x) * rate <= reach:
        hi += 1
    while lo > 0 and (place[lo - 1] - x) * rate >= -reach:
        lo -= 1
    while lo < n and (place[lo] - x) * rate < -reach:
        lo += 1
    window[0], window[1] = lo, hi
    total, density = 0.0, 0.0
    for j in range(lo, hi):
        h, d = _compare((place[j] - x) * rate, code)
        total += weight[j] * h
        density += weight[j] * d
    return total + (running[n] - running[hi]), density


@jit()
def _smooth(
    qs: Any, ks: Any, ws: Any, q_to: Any, starts: Any, low: Any, high: Any,
    first: Any, last: Any, value: Any, slope: Any,
    code: Any, reach: Any, width: Any, degree: Any, temperature: Any,
) -> None:  # fmt: skip
    rate = 1.0 / temperature
    waves = np.empty((degree, degree))  # waves[n, m] = T_n at the m-th point, ascending
    for n in range(degree):
        for m in range(degree):
            waves[n, m] = math.cos(n * math.pi * (2 * (degree - m) - 1) / (2 * degree))
    at_points = np.empty((2, degree))
    coef = np.empty(degree)
    window = np.zeros(2, np.int64)
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
        place, weight = _represent_keys(ks, ws, bottom, top, width * temperature, waves)
        running = np.zeros(place.shape[0] + 1)
        for j in range(place.shape[0]):
            running[j + 1] = running[j] + weight[j]
        flat = _compare(0.0, code)[1] * rate
        while begin < end and qs[begin] == -np.inf:
            value[q_to[begin]] = 0.5 * lowest + running[-1] + highest
            slope[q_to[begin]] = lowest * flat
            begin += 1
        while begin < end and qs[end - 1] == np.inf:
            end -= 1
            value[q_to[end]] = 0.5 * highest
            slope[q_to[end]] = highest * flat
        edges = _cut(qs, begin, end, width * temperature)
        window[:] = 0
        for cell in range(edges.shape[0] - 1):
            a, b = edges[cell], edges[cell + 1]
            half = 0.5 * (np.float64(qs[b - 1]) - qs[a])
            if b - a <= degree or half == 0.0:
                h, d = 0.0, 0.0
                for i in range(a, b):
                    if i == a or half > 0.0:
                        x = np.float64(qs[i])
                        h, d = _sum_at(x, place, running, weight, window, code, reach, rate)
                    value[q_to[i]] = h + highest
                    slope[q_to[i]] = d * rate
                continue
            centre = qs[a] + half
            for m in range(degree):
                x = centre + half * waves[1, m]
                h, d = _sum_at(x, place, running, weight, window, code, reach, rate)
                at_points[0, m], at_points[1, m] = h + highest, d
            for part in range(2):
                for n in range(degree):
                    total = 0.0
                    for m in range(degree):
                        total += at_points[part, m] * waves[n, m]
                    coef[n] = total * (2.0 if n > 0 else 1.0) / degree
                if part == 0:
                    _series(qs, a, b, centre, 1.0 / half, coef, q_to, 1.0, value)
                else:
                    _series(qs, a, b, centre, 1.0 / half, coef, q_to, rate, slope)
