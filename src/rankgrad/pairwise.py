"""The engine: weighted sums of comparisons over pairs, and their derivatives."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import (
    check_floating,
    check_mask,
    check_same_device,
    check_same_shape,
    compute_dtype,
)
from rankgrad.comparisons import Cauchy, Comparison, Laplace, Logistic, Normal, Ramp, Step
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["pairwise_sum"]

# A custom operator takes plain values, so that a comparison travels as its kind and two numbers.
_KINDS = {c.kind: c for c in (Step, Ramp, Logistic, Laplace, Normal, Cauchy)}


def _comparison(kind: str, scale: float, tie: float) -> Comparison:
    return Step(tie) if kind == "step" else _KINDS[kind](scale)


@operator("pairwise_sum")
def _pairwise_sum(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    want_slope: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sums, [*batch, n], and for backward their slopes and the sorted orders.

    The order of the queries is empty if they are the ``same`` as the keys.
    """
    q_, k_, w_, q_ids, k_ids = _flat(q, k, w, q_segments, k_segments)
    order = kernels.implementation("pairwise_order", q.device)
    k_order = order(k_, k_ids)
    q_order = k_order if same else order(q_, q_ids)
    value, slope = kernels.implementation("pairwise", q.device)(
        q_,
        k_,
        w_,
        q_ids,
        k_ids,
        q_order,
        k_order,
        _comparison(kind, scale, tie),
        mirrored=False,
        want_value=True,
        want_slope=want_slope,
    )
    return (
        shaped(value, q.shape),
        shaped(slope, q.shape) if want_slope else _nothing(q, q.dtype),
        _nothing(q, torch.int64) if same else shaped(q_order, q.shape),
        shaped(k_order, k.shape),
    )


def _flat(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if x is None else rows(x).contiguous() for x in tensors]


def _nothing(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an empty result; vmap wants the leading dimensions of the others."""
    return x.new_empty((*x.shape[:-1], 0), dtype=dtype)


@_pairwise_sum.register_fake
def _(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    want_slope: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        q.new_empty(q.shape),
        q.new_empty(q.shape) if want_slope else _nothing(q, q.dtype),
        _nothing(q, torch.int64) if same else q.new_empty(q.shape, dtype=torch.int64),
        k.new_empty(k.shape, dtype=torch.int64),
    )


@operator("pairwise_sum_backward")
def _pairwise_sum_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    slope: Tensor,
    q_order: Tensor,
    k_order: Tensor,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    need_queries: bool,
    need_keys: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients for queries, keys and weights; empty ones where not needed."""
    grad_q = -grad * slope if need_queries else _nothing(q, q.dtype)
    grad_k, grad_w = _nothing(k, q.dtype), _nothing(k, q.dtype)
    if need_keys or need_weights:
        k_, q_, g_, k_ids, q_ids = _flat(k, q, grad, k_segments, q_segments)
        k_at, q_at = _flat(k_order, k_order if same else q_order)
        value, steep = kernels.implementation("pairwise", q.device)(
            k_,
            q_,
            g_,
            k_ids,
            q_ids,
            k_at,
            q_at,
            _comparison(kind, scale, tie),
            mirrored=True,
            want_value=need_weights,
            want_slope=need_keys,
        )
        if need_keys:
            grad_k = shaped(steep, k.shape)
            grad_k = grad_k if w is None else grad_k * w
        if need_weights:
            grad_w = shaped(value, k.shape)
    return grad_q, grad_k, grad_w


@_pairwise_sum_backward.register_fake
def _(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    slope: Tensor,
    q_order: Tensor,
    k_order: Tensor,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    need_queries: bool,
    need_keys: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        q.new_empty(q.shape) if need_queries else _nothing(q, q.dtype),
        k.new_empty(k.shape) if need_keys else _nothing(k, q.dtype),
        k.new_empty(k.shape) if need_weights else _nothing(k, q.dtype),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, same, kind, scale, tie, _ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.settings = same, kind, scale, tie


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad[:3]
    # All of it inside an operator, which refuses a second derivative: the slopes are constants.
    found = _pairwise_sum_backward(grad, *ctx.saved_tensors, *ctx.settings, *needed)
    return *(g if need else None for g, need in zip(found, needed, strict=True)), *(None,) * 7


_pairwise_sum.register_autograd(_backward, setup_context=_setup)
_pairwise_sum.register_vmap(batched(_pairwise_sum, 4))
_pairwise_sum_backward.register_vmap(batched(_pairwise_sum_backward, 3))


def pairwise_sum(
    queries: Float[Tensor, "*batch q"],
    keys: Float[Tensor, "*batch k"],
    weights: Float[Tensor, "*batch k"] | None = None,
    *,
    comparison: Comparison,
    mask: Bool[Tensor, "*mask"] | None = None,
    segments: Int[Tensor, "*batch k"]
    | tuple[Int[Tensor, "*batch q"], Int[Tensor, "*batch k"]]
    | None = None,
) -> Float[Tensor, "*batch q"]:
    """Return ``out[i] = sum_j weights[j] * H(keys[j] - queries[i])``, with gradients to all three.

    Exact, without a matrix of pairs. Step, ramp and Laplace cost ``O((q + k) log(q + k))``, the
    other comparisons ``O(q k)`` at worst; all use ``O(q + k)`` memory in both directions.

    Args:
        queries: scores to look from, ``[*batch, q]``.
        keys: scores to look at, ``[*batch, k]``; leading dimensions as those of ``queries``.
        weights: one factor a key; None stands for ones.
        comparison: the softened step ``H``, such as ``Ramp(0.5)`` or ``Logistic(0.1)``.
        mask: boolean, broadcastable to ``keys``; False leaves a key out.
        segments: integer group ids; only pairs within one group count. One tensor serves queries
            and keys alike, a pair of tensors is (of the queries, of the keys).

    Returns:
        Sums in the shape of ``queries``; in float64 if an input is float64, else float32 inside
        and the dtype of ``queries`` outside. A NaN query is NaN; a NaN key makes every sum that
        counts it NaN. Equal infinities are ties.

    Raises:
        TypeError: a dtype that is not taken, or a ``comparison`` that is none.
        ValueError: shapes or devices that do not fit.

    >>> from rankgrad import Ramp
    >>> scores = torch.tensor([0.0, 0.25, 2.0], requires_grad=True)
    >>> pairwise_sum(scores, scores, comparison=Ramp(0.5))
    tensor([2.2500, 1.7500, 0.5000], grad_fn=<...>)
    """
    if not isinstance(comparison, Comparison):
        raise TypeError(
            f"comparison must be a rankgrad Comparison such as Ramp(0.5), got {comparison!r}"
        )
    check_floating("queries", queries)
    check_floating("keys", keys)
    check_same_device("keys", keys, "queries", queries)
    if queries.dim() == 0 or keys.dim() == 0:
        raise ValueError("queries and keys must have at least one dimension, got a scalar")
    if queries.shape[:-1] != keys.shape[:-1]:
        raise ValueError(
            f"keys must have the leading dimensions of queries, {tuple(queries.shape[:-1])}, "
            f"got {tuple(keys.shape[:-1])}"
        )
    if weights is not None:
        check_floating("weights", weights)
        check_same_shape("weights", weights, "keys", keys)
        check_same_device("weights", weights, "keys", keys)
    q_segments, k_segments = _segments(segments, queries, keys)
    same = queries is keys and mask is None and q_segments is k_segments
    if mask is not None:
        check_mask("mask", mask, "keys", keys)
        keys = torch.where(mask, keys, 0.0)
        weights = (
            mask.broadcast_to(keys.shape).to(compute_dtype(keys))
            if weights is None
            else torch.where(mask, weights, 0.0)
        )
    dtype = compute_dtype(queries, keys, *(() if weights is None else (weights,)))
    q = queries.to(dtype)
    out, *_ = _pairwise_sum(
        q,
        q if same else keys.to(dtype),
        None if weights is None else weights.to(dtype),
        None if q_segments is None else q_segments.to(torch.int64),
        None if k_segments is None else k_segments.to(torch.int64),
        same,
        comparison.kind,
        comparison.scale,
        comparison.tie,
        torch.is_grad_enabled(),
    )
    sums: Tensor = out.to(queries.dtype)
    return sums


def _segments(
    segments: Tensor | tuple[Tensor, Tensor] | None, queries: Tensor, keys: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    if segments is None:
        return None, None
    pair = (segments, segments) if isinstance(segments, Tensor) else tuple(segments)
    if len(pair) != 2:
        raise ValueError(f"segments must be one tensor or a pair of tensors, got {len(pair)}")
    for ids, name, scores in zip(pair, ("queries", "keys"), (queries, keys), strict=True):
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.is_complex():
            got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
            raise TypeError(f"segments must be integer tensors, got {got} for the {name}")
        check_same_shape(f"segments of the {name}", ids, name, scores)
        check_same_device(f"segments of the {name}", ids, name, scores)
    return pair
