"""Sums of Laplace distribution functions over pairs of sorted lists, by decaying running sums.

``below[j] = sum over i <= j of w_i exp(-(k_j - k_i) / t)``: from one key to the next the sum so far
shrinks by the gap, so that nothing can overflow; ``above`` is the same from the other end. A query
between two keys reads one of each and lets it decay over the rest of the way.

A lane walks over some neighbouring keys; what the lanes end with is again such a sum, over the
last keys of the lanes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.ramp import weigh
from rankgrad.kernels.cuda.running import any_between, weight_between
from rankgrad.kernels.cuda.search import first_beyond, query
from rankgrad.kernels.cuda.sorted_lists import SortedLists

__all__ = ["laplace_sums"]

_STEPS = 16  # keys to a lane
_BLOCK = 128  # lanes or queries to a program


@triton.jit
def _decay(a, b, rate):
    """Return ``exp(-|a - b| rate)``; two equal infinities are no way apart."""
    return tl.exp(-tl.where(a == b, 0.0, tl.abs(a - b)) * rate)


@triton.jit(do_not_specialize=["n", "chunks", "lanes"])
def _walk(
    keys, weights, ids, before, before_keys, before_ids, rate, out, last_keys, last_ids,
    n, chunks, lanes, DOWN: tl.constexpr, WRITE: tl.constexpr, STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the decaying sums at every key; or only what each lane ends with."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = lane < lanes
    row = lane // chunks
    chunk = lane - row * chunks
    speed = tl.load(rate)
    tail = tl.zeros([BLOCK], tl.float64)
    at = tl.zeros([BLOCK], tl.float64)  # the key that the sum is seen from, and its segment
    segment = tl.zeros([BLOCK], tl.int64)
    if before is not None:
        carries = live & (chunk > 0)
        tail = tl.load(before + lane - 1, mask=carries, other=0.0)
        at = tl.load(before_keys + lane - 1, mask=carries, other=0.0)
        if ids is not None:
            segment = tl.load(before_ids + lane - 1, mask=carries, other=0)
    for step in range(STEPS):
        place = chunk * STEPS + step
        inside = live & (place < n)
        if DOWN:
            j = row * n + n - 1 - place
        else:
            j = row * n + place
        key = tl.load(keys + j, mask=inside, other=0.0).to(tl.float64)
        add = inside.to(tl.float64)
        if weights is not None:
            add = tl.load(weights + j, mask=inside, other=0.0).to(tl.float64)
        left = tl.where(tail == 0.0, 0.0, tail * _decay(at, key, speed))
        if ids is not None:
            id_ = tl.load(ids + j, mask=inside, other=0)
            left = tl.where(id_ == segment, left, 0.0)
            segment = tl.where(inside, id_, segment)
        tail = tl.where(inside, left + add, tail)
        at = tl.where(inside, key, at)
        if WRITE:
            tl.store(out + j, tail, mask=inside)
    if WRITE == 0:
        tl.store(out + lane, tail, mask=live)
        tl.store(last_keys + lane, at, mask=live)
        if ids is not None:
            tl.store(last_ids + lane, segment, mask=live)


def _decaying(
    keys: Tensor, weights: Tensor | None, ids: Tensor | None, rate: Tensor, down: bool
) -> Tensor:
    """Return the decaying sums of each row in float64, from the first key on or from the last."""
    rows, n = keys.shape
    chunks = max(1, ceil_div(n, _STEPS))
    lanes = rows * chunks
    programs = ceil_div(lanes, _BLOCK)
    sizes = {"STEPS": _STEPS, "BLOCK": _BLOCK}
    before, last_keys, last_ids = None, None, None
    if chunks > 1:
        ends = keys.new_empty((rows, chunks), dtype=torch.float64)
        last_keys = torch.empty_like(ends)
        last_ids = None if ids is None else ids.new_empty((rows, chunks))
        launch(
            _walk, programs, keys, weights, ids, None, None, None, rate, ends, last_keys, last_ids,
            n, chunks, lanes, DOWN=down, WRITE=False, **sizes,
        )  # fmt: skip
        before = _decaying(last_keys, ends, last_ids, rate, False)
    out = keys.new_empty((rows, n), dtype=torch.float64)
    launch(
        _walk, programs, keys, weights, ids, before, last_keys, last_ids, rate, out, None, None,
        n, chunks, lanes, DOWN=down, WRITE=True, **sizes,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["n_q", "n_k", "total", "steps"])
def _laplace_sums(
    q, q_order, keys, low, high, weight, weight_rest, spoilt, above, below, rate, value, slope,
    n_q, n_k, total, steps, MIRRORED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    to, given, row, begin, end, broken = query(i, live, q, q_order, keys, low, high, n_q, n_k)
    x = given.to(tl.float64)
    speed = tl.load(rate)
    j = first_beyond(keys, begin, end, x, live, steps)
    lower = live & (j > begin)
    upper = live & (j < end)
    key = tl.load(keys + j - 1, mask=lower, other=0.0).to(tl.float64)
    near = tl.load(below + j - 1, mask=lower, other=0.0) * _decay(x, key, speed)
    near = tl.where(lower, 0.5 * near, 0.0)
    key = tl.load(keys + j, mask=upper, other=0.0).to(tl.float64)
    far = tl.load(above + j, mask=upper, other=0.0) * _decay(x, key, speed)
    far = tl.where(upper, 0.5 * far, 0.0)
    first, last, place = begin + row, end + row, j + row  # one running sum more than keys
    if MIRRORED:
        whole = weight_between(weight, weight_rest, first, place, live)
    else:
        whole = weight_between(weight, weight_rest, place, last, live)
    broken = broken | any_between(spoilt, first, last, live)
    if MIRRORED:
        out = whole + (far - near)
    else:
        out = whole + (near - far)
    out = tl.where(broken, float("nan"), out)
    steep = tl.where(broken, float("nan"), (near + far) * speed)
    tl.store(value + to, out.to(given.dtype), mask=live)
    tl.store(slope + to, steep.to(given.dtype), mask=live)


def laplace_sums(lists: SortedLists, temperature: float, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Return ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``."""
    rate = scalar(1.0 / temperature, lists.q)
    sums = weigh(lists, None)
    below, above = (_decaying(lists.k, lists.w, lists.ids, rate, down) for down in (False, True))
    value, slope = torch.empty_like(lists.q), torch.empty_like(lists.q)
    total = lists.q.numel()
    launch(
        _laplace_sums,
        ceil_div(total, _BLOCK),
        lists.q,
        lists.q_order,
        lists.k,
        lists.low,
        lists.high,
        *sums["weight"],
        sums["spoilt"][0],
        above,
        below,
        rate,
        value,
        slope,
        lists.q.shape[1],
        lists.k.shape[1],
        total,
        search_steps(lists.k.shape[1]),
        MIRRORED=mirrored,
        BLOCK=_BLOCK,
    )
    return value, slope
