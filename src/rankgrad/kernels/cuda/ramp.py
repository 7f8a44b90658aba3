"""Sums of steps and ramps over pairs of sorted lists: two searches a query, then running sums."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.comparisons import Ramp, Step
from rankgrad.kernels.cuda.cells import cell_edge, cell_width, second_cell, within_cell
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar, search_steps
from rankgrad.kernels.cuda.running import any_between, between, running, weight_between
from rankgrad.kernels.cuda.search import first_ahead, query
from rankgrad.kernels.cuda.sorted_lists import SortedLists

__all__ = ["ramp_sums", "weigh"]

_BLOCK = 256


@triton.jit(do_not_specialize=["total"])
def _terms(
    keys, weights, half_width, lever, weight, spoilt, total, RAMP: tl.constexpr, BLOCK: tl.constexpr
):
    """Write what is summed up: levers within their cell, weights, and which are no number."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    w = live.to(tl.float64)
    if weights is not None:
        w = tl.load(weights + i, mask=live, other=0.0).to(tl.float64)
        odd = w - w != 0.0
        w = tl.where(odd, 0.0, w)
        tl.store(weight + i, w, mask=live)
        tl.store(spoilt + i, odd.to(tl.float64), mask=live)
    if RAMP:
        x = tl.load(keys + i, mask=live, other=0.0).to(tl.float64)
        cell = cell_width(2.0 * tl.load(half_width))
        tl.store(lever + i, within_cell(x, cell) * w, mask=live)


def weigh(
    lists: SortedLists, half_width: Tensor | None
) -> dict[str, tuple[Tensor | None, Tensor | None]]:
    """Return running sums over the keys of "lever", "weight" and "spoilt", weights that are none.

    Each is a pair of [rows, n + 1] as :func:`.running.running` returns it; a pair of None are
    levers without a half width, and weights that are all one.
    """
    rows, n = lists.k.shape
    levers = ["lever"] if half_width is not None else []
    names = levers + (["weight", "spoilt"] if lists.w is not None else [])
    sums: dict[str, tuple[Tensor | None, Tensor | None]] = dict.fromkeys(
        ("lever", "weight", "spoilt"), (None, None)
    )
    if names:
        terms = lists.k.new_empty((len(names), rows, n), dtype=torch.float64)
        launch(
            _terms,
            ceil_div(rows * n, _BLOCK),
            lists.k,
            lists.w,
            half_width,
            *(terms[names.index(name)] if name in names else None for name in sums),
            rows * n,
            RAMP=half_width is not None,
            BLOCK=_BLOCK,
        )
        total, rest = (x.view(len(names), rows, n + 1) for x in running(terms.flatten(0, 1)))
        sums |= {name: (total[i], rest[i]) for i, name in enumerate(names)}
    return sums


@triton.jit(do_not_specialize=["n_q", "n_k", "total", "steps"])
def _ramp_sums(
    q, q_order, keys, low, high, weight, weight_rest, lever, lever_rest, spoilt, half_width,
    tie, value, slope, n_q, n_k, total, steps,
    RAMP: tl.constexpr, MIRRORED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    to, given, row, begin, end, broken = query(i, live, q, q_order, keys, low, high, n_q, n_k)
    x = given.to(tl.float64)
    if RAMP:
        delta = tl.load(half_width)
    else:
        delta = tl.zeros([BLOCK], tl.float64)
    lo = first_ahead(keys, begin, end, x, -delta, steps, RAMP)
    hi = first_ahead(keys, lo, end, x, delta, steps, not RAMP)
    if RAMP:  # the window reaches into a second cell at ``turn``
        cell = cell_width(2.0 * delta)
        key = tl.load(keys + lo, mask=lo < hi, other=0.0).to(tl.float64)
        edge = cell_edge(key, cell)
        turn = second_cell(keys, lo, hi, edge, cell, steps) + row
    # Each row has one running sum more than keys.
    begin, end, lo, hi = begin + row, end + row, lo + row, hi + row
    inside = weight_between(weight, weight_rest, lo, hi, live)
    if MIRRORED:
        whole = weight_between(weight, weight_rest, begin, lo, live)
    else:
        whole = weight_between(weight, weight_rest, hi, end, live)
    broken = broken | any_between(spoilt, begin, end, live)
    out = whole + tl.load(tie) * inside
    steep = tl.zeros([BLOCK], tl.float64)
    if RAMP:
        second = weight_between(weight, weight_rest, turn, hi, live)
        rise = between(lever, lever_rest, lo, hi, live) + inside * (edge - x) + second * cell
        # Infinities are only ever tied.
        rise = tl.where(tl.abs(x) == float("inf"), 0.0, rise) / (2.0 * delta)
        if MIRRORED:
            out = out - rise
        else:
            out = out + rise
        steep = inside / (2.0 * delta)
    out = tl.where(broken, float("nan"), out)
    steep = tl.where(broken, float("nan"), steep)
    tl.store(value + to, out.to(given.dtype), mask=live)
    tl.store(slope + to, steep.to(given.dtype), mask=live)


def ramp_sums(lists: SortedLists, comparison: Step | Ramp, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Return ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)``."""
    ramp = isinstance(comparison, Ramp)
    half_width = scalar(min(max(comparison.scale, 1e-300), 4e307), lists.q) if ramp else None
    sums = weigh(lists, half_width)
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
        *sums["weight"],
        *sums["lever"],
        sums["spoilt"][0],
        half_width,
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
