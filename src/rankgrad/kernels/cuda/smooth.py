"""Sums of logistic, normal and Cauchy distribution functions over pairs, tile by tile.

A program takes a tile of queries and walks over chunks of keys. Both lists are sorted, so that
chunks far below the tile can be passed over and those far above count whole. Pairs are summed in
the dtype of the scores within a chunk, and chunks in float64.

``exp(q - k) = exp(q - c) exp(c - k)``: where the queries of a tile lie close together, which they
do unless there are few, the logistic function needs no exponential per pair, only a reciprocal.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.comparisons import Comparison
from rankgrad.kernels.cuda.functions import distribution
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar
from rankgrad.kernels.cuda.ramp import weigh
from rankgrad.kernels.cuda.running import any_between
from rankgrad.kernels.cuda.search import query
from rankgrad.kernels.cuda.sorted_lists import SortedLists

__all__ = ["smooth_sums"]

_QUERIES = 64  # to a program
_KEYS = 16  # evaluated at once
_CHUNK = 256  # keys summed before the sum is put away
_NARROW = 8.0  # temperatures between the queries of a tile up to which exponentials are split
_PROGRAMS = 1024  # with fewer tiles than this the keys are shared out
# Beyond so many temperatures the comparison is 0 or 1 to the last digit of a float64.
_REACH = {"logistic": 40.0, "normal": 9.0, "cauchy": math.inf}


@triton.jit
def _reciprocal(u):
    """Return ``1 / u`` for ``u >= 1``; in float32 one instruction instead of a division's ten."""
    if u.dtype == tl.float64:
        r = 1.0 / u
    else:
        r = tl.rsqrt(u)
        r = r * r
    return r


@triton.jit
def _direct(x, key, sign, KIND: tl.constexpr):
    """Return the distribution function and the density of all pairs."""
    gap = key[None, :] - x[:, None]
    gap = tl.where(key[None, :] == x[:, None], 0.0, gap)  # inf - inf is a tie
    h, d = distribution(gap * sign, KIND)
    return h, d


@triton.jit(do_not_specialize=["n_q", "n_k", "tiles", "shares", "total"])
def _smooth_sums(
    q, q_order, keys, weights, spoilt, low, high, rate, value, slope,
    n_q, n_k, tiles, shares, total,
    KIND: tl.constexpr, REACH: tl.constexpr, MIRRORED: tl.constexpr, SEGMENTED: tl.constexpr,
    WANT_VALUE: tl.constexpr, WANT_SLOPE: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, CHUNK: tl.constexpr, NARROW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    share = program % shares
    tile = program // shares
    in_row = (tile % tiles) * QUERIES + tl.arange(0, QUERIES)
    live = in_row < n_q
    i = (tile // tiles) * n_q + in_row
    to, x, row, begin, end, broken = query(i, live, q, q_order, keys, low, high, n_q, n_k)
    broken = broken | any_between(spoilt, begin + row, end + row, live)
    rate_64 = tl.load(rate)
    speed = rate_64.to(x.dtype)
    x_low = tl.min(tl.where(live, x, float("inf")), axis=0)
    x_high = tl.max(tl.where(live, x, float("-inf")), axis=0)
    if MIRRORED:  # H(q - k) is H((-k) - (-q))
        sign = -speed
    else:
        sign = speed
    centre = 0.5 * (x_low + x_high)
    narrow = (x_high - x_low) * speed <= NARROW
    query_factor = tl.exp(tl.where(narrow, (x - centre) * sign, 0.0))
    # The keys of this program: its share of those that any of its queries sees.
    stop = tl.max(end, axis=0)
    start = tl.min(tl.where(live, begin, stop), axis=0)
    many = (stop - start + shares - 1) // shares
    start = start + share * many
    stop = tl.minimum(start + many, stop)
    value_sum = tl.zeros([QUERIES], tl.float64)
    slope_sum = tl.zeros([QUERIES], tl.float64)
    for chunk in range(start, stop, CHUNK):
        until = tl.minimum(chunk + CHUNK, stop)
        at = chunk + tl.arange(0, CHUNK)
        k = tl.load(keys + at, mask=at < until, other=0.0)
        k_low = tl.min(tl.where(at < until, k, float("inf")), axis=0)
        k_high = tl.max(tl.where(at < until, k, float("-inf")), axis=0)
        if MIRRORED:
            closest = (x_low - k_high) * speed
            farthest = (x_high - k_low) * speed
        else:
            closest = (k_low - x_high) * speed
            farthest = (k_high - x_low) * speed
        if (farthest < -REACH) == 0:  # a NaN is not passed over
            if (closest > REACH) & (SEGMENTED == 0):
                if WANT_VALUE:
                    whole = (at < until).to(tl.float64)
                    if weights is not None:
                        whole = tl.load(weights + at, mask=at < until, other=0.0).to(tl.float64)
                    value_sum += tl.sum(whole, axis=0)
            else:
                value_part = tl.zeros([QUERIES, KEYS], x.dtype)
                slope_part = tl.zeros([QUERIES, KEYS], x.dtype)
                for j in range(chunk, until, KEYS):
                    place = j + tl.arange(0, KEYS)
                    inside = place < until
                    key = tl.load(keys + place, mask=inside, other=0.0)
                    w = inside.to(x.dtype)
                    if weights is not None:
                        w = tl.load(weights + place, mask=inside, other=0.0)
                    if KIND == "logistic":
                        if narrow:
                            factor = tl.exp(tl.minimum((centre - key) * sign, 60.0))
                            e = query_factor[:, None] * factor[None, :]
                            h = _reciprocal(1.0 + e)
                            d = e * h * h
                        else:
                            h, d = _direct(x, key, sign, KIND)
                    else:
                        h, d = _direct(x, key, sign, KIND)
                    h = h * w[None, :]
                    d = d * w[None, :]
                    if SEGMENTED:
                        pair = place[None, :] >= begin[:, None]
                        pair = pair & (place[None, :] < end[:, None])
                        h = tl.where(pair, h, 0.0)
                        d = tl.where(pair, d, 0.0)
                    if WANT_VALUE:
                        value_part += h
                    if WANT_SLOPE:
                        slope_part += d
                if WANT_VALUE:
                    value_sum += tl.sum(value_part, axis=1).to(tl.float64)
                if WANT_SLOPE:
                    slope_sum += tl.sum(slope_part, axis=1).to(tl.float64)
    out = share * total + to
    if WANT_VALUE:
        tl.store(value + out, tl.where(broken, float("nan"), value_sum), mask=live)
    if WANT_SLOPE:
        tl.store(slope + out, tl.where(broken, float("nan"), slope_sum * rate_64), mask=live)


def smooth_sums(
    lists: SortedLists, comparison: Comparison, mirrored: bool, want_value: bool, want_slope: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``, None where not wanted."""
    (rows, n_q), n_k = lists.q.shape, lists.k.shape[1]
    tiles = ceil_div(n_q, _QUERIES)
    shares = max(1, min(ceil_div(n_k, _CHUNK), _PROGRAMS // max(rows * tiles, 1)))
    shape = (shares, rows, n_q)
    value = lists.q.new_empty(shape, dtype=torch.float64) if want_value else None
    slope = lists.q.new_empty(shape, dtype=torch.float64) if want_slope else None
    launch(
        _smooth_sums,
        rows * tiles * shares,
        lists.q,
        lists.q_order,
        lists.k,
        lists.w,
        weigh(lists, None)["spoilt"][0],
        lists.low,
        lists.high,
        scalar(1.0 / comparison.scale, lists.q),
        value,
        slope,
        n_q,
        n_k,
        tiles,
        shares,
        rows * n_q,
        KIND=comparison.kind,
        REACH=_REACH[comparison.kind],
        MIRRORED=mirrored,
        SEGMENTED=lists.low is not None,
        WANT_VALUE=want_value,
        WANT_SLOPE=want_slope,
        QUERIES=_QUERIES,
        KEYS=_KEYS,
        CHUNK=_CHUNK,
        NARROW=_NARROW,
    )
    dtype = lists.q.dtype
    return (
        None if value is None else value.sum(0).to(dtype),
        None if slope is None else slope.sum(0).to(dtype),
    )
