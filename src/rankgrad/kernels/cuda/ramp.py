"""Sums of steps and ramps over pairs of sorted lists: two searches a query, then running sums."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.comparisons import Ramp, Step
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.running import between, running
from rankgrad.kernels.cuda.search import first_beyond, query
from rankgrad.kernels.cuda.sorted_lists import SortedLists

__all__ = ["ramp_sums"]

_BLOCK = 256


@triton.jit(do_not_specialize=["n_q", "n_k", "total", "steps"])
def _ramp_sums(
    q, q_order, keys, low, high, weight, weight_rest, lever, lever_rest, spoilt, origin,
    half_width, tie, value, slope, n_q, n_k, total, steps,
    RAMP: tl.constexpr, MIRRORED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    to, given, row, begin, end, broken = query(i, live, q, q_order, keys, low, high, n_q, n_k)
    x = given.to(tl.float64)
    above, below, flat = x, x, live
    if RAMP:
        delta = tl.load(half_width)
        # Without a number between x and the ends of its window only ties lie inside.
        flat = (x + delta == x) | (x - delta == x)
        above = tl.where(flat, x, x + delta)
        below = tl.where(flat, x, x - delta)
    lo = first_beyond(keys, begin, end, below, flat == 0, steps)
    hi = first_beyond(keys, lo, end, above, flat, steps)
    # Each row has one running sum more than keys.
    begin, end, lo, hi = begin + row, end + row, lo + row, hi + row
    if weight is None:
        inside = (hi - lo).to(tl.float64)
        if MIRRORED:
            whole = (lo - begin).to(tl.float64)
        else:
            whole = (end - hi).to(tl.float64)
    else:
        inside = between(weight, weight_rest, lo, hi, live)
        if MIRRORED:
            whole = between(weight, weight_rest, begin, lo, live)
        else:
            whole = between(weight, weight_rest, hi, end, live)
    if spoilt is not None:  # a weight that is no number
        a = tl.load(spoilt + begin, mask=live, other=0)
        broken = broken | (tl.load(spoilt + end, mask=live, other=0) > a)
    out = whole + tl.load(tie) * inside
    steep = tl.zeros([BLOCK], tl.float64)
    if RAMP:
        width = 2.0 * delta
        centre = tl.load(origin + row, mask=live, other=0.0)
        moment = between(lever, lever_rest, lo, hi, live)
        rise = tl.where(flat, 0.0, (moment - inside * (x - centre)) / width)
        if MIRRORED:
            out = out - rise
        else:
            out = out + rise
        steep = tl.where(flat, 0.0, inside / width)
    out = tl.where(broken, float("nan"), out)
    steep = tl.where(broken, float("nan"), steep)
    tl.store(value + to, out.to(given.dtype), mask=live)
    tl.store(slope + to, steep.to(given.dtype), mask=live)


def ramp_sums(lists: SortedLists, comparison: Step | Ramp, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Return ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``."""
    ramp = isinstance(comparison, Ramp)
    weight, weight_rest = (None, None) if lists.w is None else running(lists.w)
    origin, lever, lever_rest = None, None, None
    if ramp:
        # About the mean of the keys, so that an offset common to all scores costs no digits.
        exact = lists.k.double()
        finite = exact.isfinite()
        origin = torch.where(finite, exact, 0.0).sum(-1, keepdim=True)
        origin = origin / finite.sum(-1, keepdim=True).clamp(min=1)
        origin = torch.where(origin.isfinite(), origin, 0.0)
        centred = torch.where(finite, exact - origin, 0.0)
        lever, lever_rest = running(centred if lists.w is None else centred * lists.w)
    value, slope = torch.empty_like(lists.q), torch.empty_like(lists.q)
    total = lists.q.numel()
    launch(
        _ramp_sums,
        ceil_div(total, _BLOCK),
        lists.q,
        lists.q_order,
        lists.k,
        lists.low,
        lists.high,
        weight,
        weight_rest,
        lever,
        lever_rest,
        lists.spoilt,
        origin,
        scalar(comparison.scale, lists.q) if ramp else None,
        scalar(comparison.tie, lists.q),
        value,
        slope,
        lists.q.shape[1],
        lists.k.shape[1],
        total,
        search_steps(lists.k.shape[1]),
        RAMP=ramp,
        MIRRORED=mirrored,
        BLOCK=_BLOCK,
    )
    return value, slope
