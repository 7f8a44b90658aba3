"""Weighted sums of comparisons over pairs, in plain PyTorch.

Steps and ramps by sorting and running sums; everything else, and every restriction to segments,
tile by tile.
"""

import torch
from torch import Tensor

from rankgrad.comparisons import Comparison, Ramp, Step
from rankgrad.kernels.reference.sorting import argsort
from rankgrad.kernels.reference.tiles import tiles

__all__ = ["pairwise", "pairwise_order"]


def pairwise_order(x: Tensor, segments: Tensor | None) -> Tensor:
    """Return the ascending order of each row of ``x`` [rows, n], by segment first."""
    order = argsort(x, False)
    if segments is None:
        return order
    return order.gather(-1, torch.sort(segments.gather(-1, order), dim=-1, stable=True).indices)


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

    Mirrored, ``H(q_i - k_j)`` stands in place of ``H(k_j - q_i)``. All tensors are [rows, n] and
    the orders those of :func:`pairwise_order`.
    """
    if mirrored:
        q, k, k_order = -q, -k, k_order.flip(-1)
    if q_segments is None and isinstance(comparison, Step | Ramp):
        value, slope = _by_sorting(q, k, w, k_order, comparison)
    else:
        value, slope = _by_tiles(q, k, w, q_segments, k_segments, comparison)
    return (value if want_value else None), (slope if want_slope else None)


def _by_tiles(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    comparison: Comparison,
) -> tuple[Tensor, Tensor]:
    value, slope = torch.zeros_like(q), torch.zeros_like(q)
    for part in tiles(q.shape[1], k.numel()):
        x = k[:, None, :] - q[:, part, None]
        x = torch.where(k[:, None, :] == q[:, part, None], 0.0, x)  # inf - inf is a tie
        h, d = comparison.value(x), comparison.derivative(x)
        d = d.masked_fill(x.isnan(), torch.nan)  # that of a step or a ramp hides it
        if w is not None:
            h, d = h * w[:, None, :], d * w[:, None, :]
        if q_segments is not None and k_segments is not None:
            other = q_segments[:, part, None] != k_segments[:, None, :]
            h, d = h.masked_fill(other, 0.0), d.masked_fill(other, 0.0)
        value[:, part] = h.sum(-1, dtype=torch.float64)
        slope[:, part] = d.sum(-1, dtype=torch.float64)
    return value, slope


def _by_sorting(
    q: Tensor, k: Tensor, w: Tensor | None, order: Tensor, comparison: Step | Ramp
) -> tuple[Tensor, Tensor]:
    """Piecewise linear comparisons: every query reads its sum off two running sums."""
    wide = torch.float64
    keys = k.gather(-1, order)
    weights = torch.ones_like(keys) if w is None else w.gather(-1, order)
    total = _running(weights.to(wide))
    if isinstance(comparison, Step):
        below = torch.searchsorted(keys, q.contiguous(), right=False)
        through = torch.searchsorted(keys, q.contiguous(), right=True)
        above = total[:, -1:] - total.gather(-1, through)
        tied = total.gather(-1, through) - total.gather(-1, below)
        value = above + comparison.tie * tied
        slope = torch.zeros_like(value)
    else:
        delta = comparison.half_width
        exact = keys.to(wide)
        origin = _origins(exact, 4 * delta)
        centred = (exact - origin).masked_fill(~exact.isfinite(), 0.0)
        moment = _running(weights.to(wide) * centred)
        queries = q.to(wide)
        infinite = queries.isinf()
        # Where scores are huge, query +- delta rounds to the query; what ties is always inside.
        below = torch.searchsorted(exact, queries - delta, right=True)
        below = torch.minimum(below, torch.searchsorted(exact, queries, right=False))
        through = torch.searchsorted(exact, queries + delta, right=False)
        through = torch.maximum(through, torch.searchsorted(exact, queries, right=True))
        inside = total.gather(-1, through) - total.gather(-1, below)
        lever = moment.gather(-1, through) - moment.gather(-1, below)
        origin = torch.nn.functional.pad(origin, (0, 1)).gather(-1, below)
        flat = infinite | (through == below)
        rise = torch.where(flat, 0.0, lever - inside * (queries - origin)) / (2 * delta)
        value = total[:, -1:] - total.gather(-1, through) + rise + 0.5 * inside
        slope = inside / (2 * delta)
    broken = q.isnan() | k.isnan().any(-1, keepdim=True)
    return (
        value.masked_fill(broken, torch.nan).to(q.dtype),
        slope.masked_fill(broken, torch.nan).to(q.dtype),
    )


def _origins(keys: Tensor, reach: float) -> Tensor:
    """Return a score near each of the sorted ``keys``, one for all that are closely spaced.

    Running sums of ``keys - origin`` stay small, however far apart the keys are.
    """
    place = torch.arange(keys.shape[-1], device=keys.device).expand_as(keys)
    opens = torch.nn.functional.pad(keys.diff() > reach, (1, 0))[..., : keys.shape[-1]]
    first = torch.where(opens, place, 0).cummax(-1).values
    return keys.gather(-1, first).nan_to_num(posinf=0.0, neginf=0.0)


def _running(x: Tensor) -> Tensor:
    """Return the sums of the first 0, 1, ..., n elements."""
    return torch.nn.functional.pad(x.cumsum(-1), (1, 0))
