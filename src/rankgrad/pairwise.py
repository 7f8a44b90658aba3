"""The engine: weighted sums of comparisons over pairs, and their derivatives."""

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
from rankgrad.operators import operator

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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums and the sorted orders of queries and keys, which backward needs again."""
    order = kernels.implementation("pairwise_order", q.device)
    k_order = order(k, k_segments)
    q_order = k_order.new_empty(0) if same else order(q, q_segments)
    value, _ = kernels.implementation("pairwise", q.device)(
        q,
        k,
        w,
        q_segments,
        k_segments,
        k_order if same else q_order,
        k_order,
        _comparison(kind, scale, tie),
        mirrored=False,
        want_value=True,
        want_slope=False,
    )
    return value, q_order, k_order


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
) -> tuple[Tensor, Tensor, Tensor]:
    k_order = torch.empty(k.shape, dtype=torch.int64, device=k.device)
    return torch.empty_like(q), k_order.new_empty(0 if same else q.shape), k_order


@operator("pairwise_sum_backward")
def _pairwise_sum_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    q_order: Tensor,
    k_order: Tensor,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    need_scores: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients for queries, keys and weights; empty ones where not needed."""
    comparison = _comparison(kind, scale, tie)
    serve = kernels.implementation("pairwise", q.device)
    q_order = k_order if same else q_order
    grad = grad.contiguous()
    grad_q, grad_k, grad_w = q.new_empty(0), q.new_empty(0), q.new_empty(0)
    if need_scores:
        _, slope = serve(
            q, k, w, q_segments, k_segments, q_order, k_order, comparison, False, False, True
        )
        grad_q = -grad * slope
    value, slope = serve(
        k, q, grad, k_segments, q_segments, k_order, q_order, comparison, True, need_weights,
        need_scores,
    )  # fmt: skip
    if need_scores:
        grad_k = slope if w is None else slope * w
    if need_weights:
        grad_w = value
    return grad_q, grad_k, grad_w


@_pairwise_sum_backward.register_fake
def _(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    q_segments: Tensor | None,
    k_segments: Tensor | None,
    q_order: Tensor,
    k_order: Tensor,
    same: bool,
    kind: str,
    scale: float,
    tie: float,
    need_scores: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    none = q.new_empty(0)
    grad_q = torch.empty_like(q) if need_scores else none
    grad_k = torch.empty_like(k) if need_scores else q.new_empty(0)
    return grad_q, grad_k, torch.empty_like(k) if need_weights else q.new_empty(0)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]  # torch's own context object
    q, k, w, q_segments, k_segments, *settings = inputs
    _, q_order, k_order = output
    ctx.mark_non_differentiable(q_order, k_order)
    ctx.save_for_backward(q, k, w, q_segments, k_segments, q_order, k_order)
    ctx.settings = settings


def _backward(ctx, grad, _q_order, _k_order):  # type: ignore[no-untyped-def]
    q, k, w, q_segments, k_segments, q_order, k_order = ctx.saved_tensors
    need_q, need_k, need_w = ctx.needs_input_grad[:3]
    need_scores = need_q or need_k
    grad_q, grad_k, grad_w = _pairwise_sum_backward(
        grad, q, k, w, q_segments, k_segments, q_order, k_order, *ctx.settings, need_scores, need_w
    )
    return (
        grad_q if need_q else None,
        grad_k if need_k else None,
        grad_w if need_w else None,
        *(None,) * 6,
    )


_pairwise_sum.register_autograd(_backward, setup_context=_setup)


def _folded(
    size: int, tensors: tuple[Tensor | None, ...], dims: tuple[int | None, ...]
) -> list[Tensor | None]:
    """Turn the mapped dimension of every [rows, n] tensor into more rows."""
    rows = (
        x if x is None else x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(tensors, dims, strict=False)
    )
    return [x if x is None else x.flatten(0, 1) for x in rows]


def _unfolded(size: int, x: Tensor) -> tuple[Tensor, int | None]:
    """Give the rows of a result back to their samples; an empty result has none."""
    return (x.view(size, x.shape[0] // size, *x.shape[1:]), 0) if x.dim() > 1 else (x, None)


@_pairwise_sum.register_vmap
def _(info, in_dims, *args):  # type: ignore[no-untyped-def]  # as many arguments as the operator
    size = info.batch_size
    out = _pairwise_sum(*_folded(size, args[:5], in_dims), *args[5:])
    return tuple(zip(*(_unfolded(size, x) for x in out), strict=True))


@_pairwise_sum_backward.register_vmap
def _(info, in_dims, *args):  # type: ignore[no-untyped-def]
    size = info.batch_size
    tensors, dims = list(args[:8]), list(in_dims[:8])
    same = args[8]
    q_order = tensors.pop(6) if same else None  # an empty tensor: it has no rows to fold
    if same:
        dims.pop(6)
    folded = _folded(size, tuple(tensors), tuple(dims))
    if same:
        folded.insert(6, q_order)
    out = _pairwise_sum_backward(*folded, *args[8:])
    return tuple(zip(*(_unfolded(size, x) for x in out), strict=True))


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
    same = queries is keys and mask is None
    if mask is not None:
        check_mask("mask", mask, "keys", keys)
        keys = torch.where(mask, keys, 0.0)
        weights = (
            mask.broadcast_to(keys.shape).to(compute_dtype(keys))
            if weights is None
            else torch.where(mask, weights, 0.0)
        )
    dtype = compute_dtype(queries, keys, *(() if weights is None else (weights,)))
    q, k = (_rows(x, dtype) for x in (queries, keys))
    out, _, _ = _pairwise_sum(
        q,
        q if same else k,
        None if weights is None else _rows(weights, dtype),
        None if q_segments is None else _rows(q_segments, torch.int64),
        None if k_segments is None else _rows(k_segments, torch.int64),
        same,
        comparison.kind,
        comparison.scale,
        comparison.tie,
    )
    sums: Tensor = out.view(queries.shape).to(queries.dtype)
    return sums


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return x.to(dtype).reshape(rows, x.shape[-1]).contiguous()


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
