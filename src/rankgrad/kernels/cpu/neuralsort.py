"""NeuralSort over sorted scores: one exponential for each element of a band around the diagonal.

In units of the temperature, with the sorted scores ``z`` and ``g_j = -sum_k |z_j - z_k|``, row
``i`` of the matrix is the softmax of ``a_i z_j + g_j`` with ``a_i = n + 1 - 2 i``. It falls off on
both sides of the diagonal, faster and faster; only what can reach the last digit of a sum is
evaluated. Forward and backward walk over the rows once.

Arrays along the columns are padded to whole blocks, and loops go over whole blocks: what the
compiler leaves over of a loop in vectors takes longer than all of a short row.
"""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.functions import vector_exp
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.peaks import climb

__all__ = [
    "across",
    "back",
    "band",
    "down",
    "first_block",
    "neuralsort_average",
    "neuralsort_average_vjp",
    "neuralsort_ranks",
    "neuralsort_ranks_vjp",
    "padded",
    "potentials",
    "put_ranks",
    "rank_gradient",
    "to_scores",
    "weights",
    "with_padding",
]


_BLOCK = 32


@jit()
def padded(n: Any) -> Any:
    """Return ``n`` rounded up to whole blocks."""
    return (n + _BLOCK - 1) // _BLOCK * _BLOCK


@jit()
def potentials(y: Any, temperature: Any) -> Any:
    """Return ``z`` and ``g``, padded, for scores that fall and are finite."""
    n = y.shape[0]
    z, g = np.zeros(padded(n)), np.empty(padded(n))
    g[n:] = -1e300  # no weight
    centre = 0.0
    for k in range(n):
        centre += y[k] / n
    whole = 0.0
    for k in range(n):
        z[k] = (y[k] - centre) / temperature
        whole += z[k]
    above, start = 0.0, 0
    while start < n:  # equal scores at once: they get the very same
        stop, through = start, above
        while stop < n and y[stop] == y[start]:
            through += z[stop]
            stop += 1
        below = whole - through
        for k in range(start, stop):
            g[k] = below - above - (n - stop - start) * z[k]
        above, start = through, stop
    return z, g


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def weights(z: Any, g: Any, slope: Any, top: Any, w: Any) -> Any:
    """Write the band of a row before it is divided by its sum; return that."""
    total = 0.0
    for j in range(z.shape[0]):
        weight = vector_exp(slope * z[j] + (g[j] - top))
        w[j] = weight
        total += weight
    return total


@jit(forceinline=True)
def _scaled(w: Any, scale: Any, place: Any, mass: Any, places: Any) -> None:
    for j in range(w.shape[0]):
        share = w[j] * scale
        mass[j] += share
        places[j] += place * share


@jit(forceinline=True)
def band(slope: Any, z: Any, g: Any, n: Any, peak: Any, low: Any, high: Any, reach: Any) -> Any:
    """Return the peak of a row, its height, and the blocks that hold all within reach of it.

    Found by small steps from those of the row before; the logits rise to the peak and fall behind.
    """
    peak, top = climb(slope, z, g, n, peak)
    least = top - reach
    while low + _BLOCK <= peak and slope * z[low + _BLOCK - 1] + g[low + _BLOCK - 1] < least:
        low += _BLOCK
    while low > 0 and (low > peak or slope * z[low - 1] + g[low - 1] >= least):
        low -= _BLOCK
    while high - _BLOCK > peak and slope * z[high - _BLOCK] + g[high - _BLOCK] < least:
        high -= _BLOCK
    while high < n and (high <= peak or slope * z[high] + g[high] >= least):
        high += _BLOCK
    return peak, top, low, high


@jit()
def first_block(place: Any) -> Any:
    """Return a place to search the first band from: a peak and the ends of its block."""
    low = place // _BLOCK * _BLOCK
    return place, low, low + _BLOCK


@jit()
def _reach(n: Any) -> Any:
    """Return how far below the peak of a row its logits no longer count."""
    return 40.0 + np.log(n)  # exp(-40) is below the last digit of a float64


@jit()
def down(n: Any, z: Any, g: Any, first: Any, last: Any, ahead: Any, mass: Any, places: Any) -> Any:
    """Add ``P_ij`` and ``i P_ij`` of the rows from ``first`` to ``last`` to sums over columns.

    So many scores are ``ahead`` of all of these. Return which columns the rows reach.
    """
    w = np.empty(z.shape[0])
    reach = _reach(n)
    peak, low, high = first_block(first)
    left, right = z.shape[0], 0
    for i in range(first, last):
        slope = n - 1.0 - 2.0 * i
        peak, top, low, high = band(slope, z, g, n, peak, low, high, reach)
        scale = 1.0 / weights(z[low:high], g[low:high], slope, top, w[low:high])
        _scaled(w[low:high], scale, ahead + i + 1.0, mass[low:high], places[low:high])
        left, right = min(left, low), max(right, high)
    return left, right


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _mean(z: Any, g: Any, slope: Any, top: Any, v: Any) -> Any:
    total = mean = 0.0
    for j in range(z.shape[0]):
        weight = vector_exp(slope * z[j] + (g[j] - top))
        total += weight
        mean += weight * v[j]
    return mean / total


@jit()
def across(n: Any, z: Any, g: Any, first: Any, last: Any, v: Any, out: Any) -> None:
    """Write ``sum_j P_ij v_j`` for the rows from ``first`` to ``last``."""
    reach = _reach(n)
    peak, low, high = first_block(first)
    for i in range(first, last):
        slope = n - 1.0 - 2.0 * i
        peak, top, low, high = band(slope, z, g, n, peak, low, high, reach)
        out[i] = _mean(z[low:high], g[low:high], slope, top, v[low:high])


@jit(forceinline=True, fastmath={"reassoc", "contract"})
def _weights_and_means(z: Any, g: Any, slope: Any, top: Any, b: Any, c: Any, w: Any) -> Any:
    total = one = other = 0.0
    for j in range(z.shape[0]):
        weight = vector_exp(slope * z[j] + (g[j] - top))
        w[j] = weight
        total += weight
        one += weight * b[j]
        other += weight * c[j]
    return 1.0 / total, one / total, other / total


@jit(forceinline=True)
def _spread(
    w: Any, scale: Any, a: Any, b: Any, c: Any, mean: Any, slope: Any,
    to_g: Any, to_z: Any, to_b: Any,
) -> None:  # fmt: skip
    for j in range(w.shape[0]):
        share = w[j] * scale
        pull = share * (a * b[j] - c[j] - mean)
        to_g[j] += pull
        to_z[j] += slope * pull
        to_b[j] += a * share


@jit()
def back(
    n: Any, z: Any, g: Any, first: Any, last: Any, a: Any, b: Any, c: Any,
    to_g: Any, to_z: Any, to_b: Any,
) -> Any:  # fmt: skip
    """Take ``a_i b_j - c_j`` as the gradient of ``P_ij`` in the rows from ``first`` to ``last``.

    Add what that makes of the gradients of ``g`` and ``z`` (that of ``g`` left aside), and
    ``sum_i a_i P_ij``. Return which columns the rows reach.
    """
    w = np.empty(z.shape[0])
    reach = _reach(n)
    peak, low, high = first_block(first)
    left, right = z.shape[0], 0
    for i in range(first, last):
        slope = n - 1.0 - 2.0 * i
        peak, top, low, high = band(slope, z, g, n, peak, low, high, reach)
        its_b, its_c, its_w = b[low:high], c[low:high], w[low:high]
        scale, one, other = _weights_and_means(
            z[low:high], g[low:high], slope, top, its_b, its_c, its_w
        )
        _spread(
            its_w, scale, a[i], its_b, its_c, a[i] * one - other, slope,
            to_g[low:high], to_z[low:high], to_b[low:high],
        )  # fmt: skip
        left, right = min(left, low), max(right, high)
    return left, right


@jit()
def to_scores(y: Any, to_g: Any, to_z: Any, temperature: Any, out: Any) -> None:
    """Write the gradient of the scores for those of ``g`` and ``z``."""
    n = y.shape[0]
    whole = 0.0
    for k in range(n):
        whole += to_g[k]
    above, start = 0.0, 0
    while start < n:  # equal scores do not pull at each other
        stop, through = start, above
        while stop < n and y[stop] == y[start]:
            through += to_g[stop]
            stop += 1
        below = whole - through
        for k in range(start, stop):
            out[k] = (to_z[k] - (n - stop - start) * to_g[k] - below + above) / temperature
        above, start = through, stop


@jit()
def put_ranks(renormalize: Any, sums: Any, places: Any, mass: Any, rank: Any) -> None:
    """Write the sums of the columns and the ranks."""
    for k in range(rank.shape[0]):
        mass[k] = sums[k]
        rank[k] = places[k] / sums[k] if renormalize else places[k]


@jit()
def neuralsort_ranks(
    y: Any, ahead: Any, temperature: Any, renormalize: Any, mass: Any, rank: Any
) -> None:
    """Write the sums of the columns and the ranks; so many scores are ``ahead`` of all of these."""
    n = y.shape[0]
    z, g = potentials(y, temperature)
    sums, places = np.zeros(z.shape[0]), np.zeros(z.shape[0])
    down(n, z, g, 0, n, ahead, sums, places)
    put_ranks(renormalize, sums, places, mass, rank)


@jit()
def rank_gradient(ahead: Any, renormalize: Any, grad: Any, mass: Any, rank: Any) -> Any:
    """Return the gradient of ``P_ij`` as ``a_i b_j - c_j`` for that of the ranks."""
    n = grad.shape[0]
    a, b, c = np.empty(n), np.zeros(padded(n)), np.zeros(padded(n))
    for k in range(n):
        a[k] = ahead + k + 1.0
        b[k] = grad[k] / mass[k] if renormalize else grad[k]
        c[k] = b[k] * rank[k] if renormalize else 0.0
    return a, b, c


@jit()
def _back(y: Any, temperature: Any, a: Any, b: Any, c: Any, out: Any) -> Any:
    n = y.shape[0]
    z, g = potentials(y, temperature)
    to_g, to_z, to_b = np.zeros(z.shape[0]), np.zeros(z.shape[0]), np.zeros(z.shape[0])
    back(n, z, g, 0, n, a, b, c, to_g, to_z, to_b)
    to_scores(y, to_g, to_z, temperature, out)
    return to_b


@jit()
def neuralsort_ranks_vjp(
    y: Any, ahead: Any, temperature: Any, renormalize: Any, grad: Any, mass: Any, rank: Any,
    out: Any,
) -> None:  # fmt: skip
    """Write the gradient of the scores for that of the ranks."""
    a, b, c = rank_gradient(ahead, renormalize, grad, mass, rank)
    _back(y, temperature, a, b, c, out)


@jit()
def with_padding(v: Any) -> Any:
    """Return values that go along the columns."""
    out = np.zeros(padded(v.shape[0]))
    out[: v.shape[0]] = v
    return out


@jit()
def neuralsort_average(y: Any, temperature: Any, v: Any, out: Any) -> None:
    """Write the matrix times ``v``."""
    n = y.shape[0]
    z, g = potentials(y, temperature)
    across(n, z, g, 0, n, with_padding(v), out)


@jit()
def neuralsort_average_vjp(
    y: Any, temperature: Any, v: Any, grad: Any, out: Any, to_v: Any
) -> None:
    """Write the gradients of the scores and of ``v`` for that of the product."""
    n = y.shape[0]
    to_v[:] = _back(y, temperature, grad, with_padding(v), np.zeros(padded(n)), out)[:n]
