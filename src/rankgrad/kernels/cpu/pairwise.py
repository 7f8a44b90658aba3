"""Weighted sums of comparisons over pairs: sort, group, then one walk over both sorted lists."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.comparisons import Comparison
from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.laplace import laplace_sums
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.ramp import ramp_sums, step_sums
from rankgrad.kernels.cpu.smooth import smooth_sums
from rankgrad.kernels.cpu.sorting import argsort_into

__all__ = ["pairwise", "pairwise_order"]

_GRAIN = 8192  # queries worth a thread of their own
_EXACT = 1 << 53  # integers below it are exact in float64


def pairwise_order(x: Tensor, segments: Tensor | None) -> Tensor:
    """Return the ascending order of each row of ``x`` [rows, n], by segment first."""
    values = x.detach().numpy()
    order = np.empty(values.shape, np.int64)
    argsort_into(values, order, False)
    if segments is not None:
        ids = np.take_along_axis(segments.numpy(), order, 1)
        if ids.size == 0 or (ids.min() > -_EXACT and ids.max() < _EXACT):
            by_segment = np.empty_like(order)
            argsort_into(ids.astype(np.float64), by_segment, False)
        else:
            by_segment = np.argsort(ids, axis=1, kind="stable")
        order = np.take_along_axis(order, by_segment, 1)
    return torch.from_numpy(order)


@jit()
def _gather(x: Any, order: Any, mirrored: Any, out: Any, to: Any) -> None:
    """Flatten the rows of ``x`` in ascending order; mirrored, negated and from the other end."""
    rows, n = x.shape
    for row in range(rows):
        for i in range(n):
            at = order[row, n - 1 - i] if mirrored else order[row, i]
            out[row * n + i] = -x[row, at] if mirrored else x[row, at]
            to[row * n + i] = row * n + at


@jit()
def _runs(q_ids: Any, k_ids: Any, q_to: Any, k_to: Any, n_q: Any, n_k: Any, mirrored: Any) -> Any:
    """Return the start of each run of queries with one segment, and the keys of that segment.

    ``q_to`` and ``k_to`` lead from a sorted place to the flat place of its segment id.
    """
    total = q_to.shape[0]
    starts = np.empty(total + 1, np.int64)
    low = np.empty(total, np.int64)
    high = np.empty(total, np.int64)
    count = 0
    for row in range(total // max(n_q, 1)):
        j = row * n_k
        stop = j + n_k
        i = row * n_q
        while i < (row + 1) * n_q:
            segment = q_ids[q_to[i]]
            while j < stop and (k_ids[k_to[j]] > segment if mirrored else k_ids[k_to[j]] < segment):
                j += 1
            starts[count] = i
            low[count] = j
            while j < stop and k_ids[k_to[j]] == segment:
                j += 1
            high[count] = j
            count += 1
            while i < (row + 1) * n_q and q_ids[q_to[i]] == segment:
                i += 1
    starts[count] = total
    return starts[: count + 1], low[:count], high[:count]


def pairwise(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    q_order: Tensor,
    k_order: Tensor,
    comparison: Comparison,
    mirrored: bool,
    want_value: bool,
    want_slope: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``sum_j w_j H(k_j - q_i)`` and ``sum_j w_j H'(k_j - q_i)`` by row.

    Mirrored, ``H(q_i - k_j)`` stands in place of ``H(k_j - q_i)``: the same walk over negated
    lists. All tensors are [rows, n] and the orders those of :func:`pairwise_order`.
    """
    (rows, n_q), n_k = q.shape, k.shape[1]
    dtype = q.detach().numpy().dtype
    qs, q_to = np.empty(rows * n_q, dtype), np.empty(rows * n_q, np.int64)
    ks, k_to = np.empty(rows * n_k, dtype), np.empty(rows * n_k, np.int64)
    gathers = [
        partial(_gather, q.detach().numpy(), q_order.numpy(), mirrored, qs, q_to),
        partial(_gather, k.detach().numpy(), k_order.numpy(), mirrored, ks, k_to),
    ]
    run(gathers, qs.shape[0] > _GRAIN)
    ws = None if w is None else array(w).reshape(-1)[k_to]
    if q_segments is None or k_segments is None:
        starts = np.arange(rows + 1) * n_q
        low, high = np.arange(rows) * n_k, np.arange(1, rows + 1) * n_k
    else:
        q_ids, k_ids = q_segments.reshape(-1).numpy(), k_segments.reshape(-1).numpy()
        starts, low, high = _runs(q_ids, k_ids, q_to, k_to, n_q, n_k, mirrored)
    value, slope = np.empty_like(qs), np.empty_like(qs)
    walk: Any
    if comparison.kind == "step":
        walk = partial(step_sums, tie=comparison.tie)
    elif comparison.kind == "ramp":
        walk = partial(ramp_sums, half_width=comparison.scale)
    elif comparison.kind == "laplace":
        walk = partial(laplace_sums, temperature=comparison.scale)
    else:
        walk = partial(
            smooth_sums, kind=comparison.kind, temperature=comparison.scale,
            want_value=want_value, want_slope=want_slope,
        )  # fmt: skip
    run(
        [
            partial(walk, qs, ks, ws, q_to, starts, low, high, a, b, value, slope)
            for a, b in pieces(qs.shape[0], _GRAIN)
        ]
    )
    return (
        torch.from_numpy(value.reshape(rows, n_q)) if want_value else None,
        torch.from_numpy(slope.reshape(rows, n_q)) if want_slope else None,
    )
