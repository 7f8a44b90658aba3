"""Weighted sums of comparisons over pairs of sorted lists."""

from torch import Tensor

from rankgrad.comparisons import Comparison, Laplace, Ramp, Step
from rankgrad.kernels.cuda.laplace import laplace_sums
from rankgrad.kernels.cuda.ramp import ramp_sums
from rankgrad.kernels.cuda.smooth import smooth_sums
from rankgrad.kernels.cuda.sorted_lists import sorted_lists

__all__ = ["pairwise"]


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
    the orders those of :func:`rankgrad.kernels.reference.pairwise_order`.
    """
    value: Tensor | None
    slope: Tensor | None
    lists = sorted_lists(q, k, w, q_segments, k_segments, q_order, k_order)
    if isinstance(comparison, Step | Ramp):
        value, slope = ramp_sums(lists, comparison, mirrored)
    elif isinstance(comparison, Laplace):
        value, slope = laplace_sums(lists, comparison.temperature, mirrored)
    else:
        value, slope = smooth_sums(lists, comparison, mirrored, want_value, want_slope)
    return (value if want_value else None), (slope if want_slope else None)
