"""RankSim's rows: two batched sorts, and between them kernels that rank without sorting.

Labels ascend, so that what is nearer to label ``i`` than label ``j`` is found by binary searches.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import launch, scalar, search_steps
from rankgrad.kernels.reference.ranksim import ranksim_rows as by_torch

__all__ = ["ranksim_rows"]

_BLOCK = 256  # columns looked at at once


@triton.jit
def _tied(values, x, m, live, steps):
    """Return how many of the ``m`` falling ``values`` exceed ``x``, and how many reach it."""
    zero = tl.zeros(x.shape, tl.int64)
    a, b = zero, zero + tl.where(live, m, 0)
    c, d = a, b
    for step in range(steps):
        looks = a < b
        middle = (a + b) // 2
        passed = looks & (tl.load(values + middle, mask=looks, other=0.0) > x)
        b = tl.where(looks & (passed == 0), middle, b)
        a = tl.where(passed, middle + 1, a)
        looks = c < d
        middle = (c + d) // 2
        passed = looks & (tl.load(values + middle, mask=looks, other=0.0) >= x)
        d = tl.where(looks & (passed == 0), middle, d)
        c = tl.where(passed, middle + 1, c)
    return a, c


@triton.jit
def _nearer(labels, here, i, m, far, live, steps, THROUGH: tl.constexpr):
    """Return how many labels are nearer to the i-th, ``here``, than ``far``, or as near."""
    low = tl.zeros(far.shape, tl.int64)
    high = low + tl.where(live, i, 0)
    for step in range(steps):  # the first below that is near enough
        looks = low < high
        middle = (low + high) // 2
        gap = here - tl.load(labels + middle, mask=looks, other=0.0)
        near = looks & ((gap < far) | (THROUGH & (gap == far)))
        high = tl.where(near, middle, high)
        low = tl.where(looks & (near == 0), middle + 1, low)
    begin = low
    low = tl.zeros(far.shape, tl.int64) + i
    high = tl.where(live, m, low)
    for step in range(steps):  # the first above that is too far
        looks = low < high
        middle = (low + high) // 2
        gap = tl.load(labels + middle, mask=looks, other=0.0) - here
        near = looks & ((gap < far) | (THROUGH & (gap == far)))
        low = tl.where(near, middle + 1, low)
        high = tl.where(looks & (near == 0), middle, high)
    return low - begin


@triton.jit(do_not_specialize=["n", "steps"])
def _compare(
    values, order, labels, count, strength, loss, ranks, moved, n, steps, BLOCK: tl.constexpr
):
    """Write the error of a row, the ranks in it, and where its gradient moves it."""
    i = tl.program_id(0).to(tl.int64)
    m = tl.load(count)
    here = tl.load(labels + i)
    last = tl.load(labels + m - 1, mask=m > 0, other=0.0)
    first = tl.load(values + i * n)  # NaN sorts first; among the labels last
    broken = (first != first) | (last != last) | (here - here != 0.0)
    size = tl.maximum(m, 1).to(tl.float64)
    many = tl.where(i < m, m, 0)  # a row that takes no part has no columns
    push = (2.0 * tl.load(strength) / size).to(first.dtype).to(tl.float64)
    total = tl.zeros([BLOCK], tl.float64)
    for start in range(0, n, BLOCK):
        r = start + tl.arange(0, BLOCK)
        live = r < many
        j = tl.load(order + i * n + r, mask=r < n, other=0)
        x = tl.load(values + i * n + r, mask=r < n, other=0.0)
        above, through = _tied(values + i * n, x, m, live, steps)
        rank = (0.5 * (above + through + 1).to(tl.float64) / size).to(x.dtype)
        far = tl.abs(tl.load(labels + j, mask=live, other=0.0) - here)
        above = _nearer(labels, here, i, m, far, live, steps, False)
        through = _nearer(labels, here, i, m, far, live, steps, True)
        wanted = (0.5 * (above + through + 1).to(tl.float64) / size).to(x.dtype)
        error = tl.where(live, rank - wanted, 0.0)
        total += error.to(tl.float64) * error.to(tl.float64)
        if moved is not None:
            there = (x.to(tl.float64) + push * error.to(tl.float64)).to(x.dtype)
            there = tl.where(live, tl.where(broken, float("nan"), there), float("-inf"))
            tl.store(moved + i * n + j, there, mask=r < n)
            tl.store(ranks + i * n + j, tl.where(live, rank, 0.0), mask=r < n)
    mean = tl.where(broken & (i < m), float("nan"), tl.sum(total, axis=0) / size)
    tl.store(loss + i, mean.to(first.dtype))


@triton.jit(do_not_specialize=["n", "steps"])
def _slope(values, order, count, strength, ranks, slope, n, steps, BLOCK: tl.constexpr):
    """Write by how much the ranks of a row move, over the strength."""
    i = tl.program_id(0).to(tl.int64)
    m = tl.load(count)
    first = tl.load(values + i * n)
    size = tl.maximum(m, 1).to(tl.float64)
    many = tl.where(i < m, m, 0)  # a row that takes no part has no columns
    for start in range(0, n, BLOCK):
        r = start + tl.arange(0, BLOCK)
        live = r < many
        j = tl.load(order + i * n + r, mask=r < n, other=0)
        x = tl.load(values + i * n + r, mask=r < n, other=0.0)
        above, through = _tied(values + i * n, x, m, live, steps)
        rank = (0.5 * (above + through + 1).to(tl.float64) / size).to(x.dtype)
        rise = rank - tl.load(ranks + i * n + j, mask=live, other=0.0)
        rise = (rise.to(tl.float64) / tl.load(strength)).to(x.dtype)
        rise = tl.where(live, tl.where(first != first, float("nan"), rise), 0.0)
        tl.store(slope + i * n + j, rise, mask=r < n)


def ranksim_rows(
    similarity: Tensor, labels: Tensor, count: Tensor | None, strength: float, want_slope: bool
) -> tuple[Tensor, Tensor]:
    """As the function of this name in :mod:`rankgrad.kernels.reference.ranksim`.

    With several label dimensions there is no order to search, and the reference serves.
    """
    n = similarity.shape[0]
    if labels.shape[1] != 1 or n == 0:
        return by_torch(similarity, labels, count, strength, want_slope)
    x = similarity.detach()
    if count is None:
        many = torch.full((1,), n, dtype=torch.int64, device=x.device)
    else:  # what takes no part sorts last
        many = count.reshape(1).to(torch.int64)
        x = torch.where(torch.arange(n, device=x.device) < many, x, -torch.inf)
    at = labels.detach()[:, 0].contiguous()
    loss, ranks, moved = x.new_empty(n), None, None
    if want_slope:
        ranks, moved = x.new_empty((2, n, n))
    factor, steps = scalar(strength, x), search_steps(n)
    values, order = torch.sort(x, dim=-1, descending=True, stable=True)
    launch(
        _compare, n, values, order, at, many, factor, loss, ranks, moved, n, steps, BLOCK=_BLOCK
    )  # fmt: skip
    if moved is None:
        return loss, x.new_empty(0)
    values, order = torch.sort(moved, dim=-1, descending=True, stable=True)
    slope = torch.empty_like(x)
    launch(_slope, n, values, order, many, factor, ranks, slope, n, steps, BLOCK=_BLOCK)
    return loss, slope
