"""A soft top-k indicator that sums to k exactly."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import (
    check_finite_number,
    check_floating,
    check_mask,
    check_positive,
    check_rows,
    check_same_device,
    compute_dtype,
)
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["soft_topk"]


@operator("soft_topk")
def _soft_topk(
    x: Tensor, mask: Tensor | None, k: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor]:
    """Return the indicators and, for backward, the thresholds; k and scale are float64."""
    serve = kernels.implementation("soft_topk", x.device)
    out, threshold = serve(rows(x), rows(mask), k.reshape(-1), scale.reshape(-1), log)
    return shaped(out, x.shape), shaped(threshold, torch.Size((*k.shape, 2)))


@operator("soft_topk_vjp")
def _soft_topk_vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, threshold: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor, Tensor]:
    serve = kernels.implementation("soft_topk_vjp", x.device)
    out, grad_k, grad_scale = serve(
        rows(grad), rows(x), rows(mask), threshold.reshape(-1, 2), scale.reshape(-1), log
    )
    return shaped(out, x.shape), shaped(grad_k, scale.shape), shaped(grad_scale, scale.shape)


@_soft_topk.register_fake
def _(x: Tensor, mask: Tensor | None, k: Tensor, scale: Tensor, log: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), k.new_empty((*k.shape, 2))


@_soft_topk_vjp.register_fake
def _(
    grad: Tensor, x: Tensor, mask: Tensor | None, threshold: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), scale.new_empty(scale.shape), scale.new_empty(scale.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, mask, _, scale, ctx.log = inputs
    threshold = output[1]
    ctx.mark_non_differentiable(threshold)
    ctx.save_for_backward(x, mask, threshold, scale)


def _backward(ctx: Any, grad: Tensor, _threshold: Tensor) -> tuple[Tensor | None, ...]:
    x, mask, threshold, scale = ctx.saved_tensors
    out, grad_k, grad_scale = _soft_topk_vjp(grad, x, mask, threshold, scale, ctx.log)
    return out, None, grad_k, grad_scale, None


_soft_topk.register_autograd(_backward, setup_context=_setup)
_soft_topk.register_vmap(batched(_soft_topk, outputs=2))
_soft_topk_vjp.register_vmap(batched(_soft_topk_vjp, outputs=3))


def soft_topk(
    scores: Float[Tensor, "*batch"],
    k: float | int | Shaped[Tensor, "*counts"],
    temperature: float | int | Float[Tensor, "*temperatures"] = 1.0,
    dim: int = -1,
    *,
    largest: bool = True,
    log: bool = False,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Return how much each score belongs to the ``k`` largest along ``dim``; the sum is ``k``.

    .. math::
        p_i = H\!\left( \frac{s_i - t}{temperature} \right)
        \quad \text{with } t \text{ such that} \quad \sum_i p_i = k,

    where ``H`` is the distribution function of the Laplace distribution. The threshold ``t`` is
    found in closed form, not by iteration. Between 0 and 1, and monotone in the scores; a small
    temperature gives the indicator of the ``k`` largest. The gradients of scores, ``k`` and
    temperature are the derivatives, in closed form as well.

    Args:
        scores: floating point tensor with at least one dimension.
        k: the sum; need not be whole. A number, or a tensor that broadcasts to ``scores`` without
            ``dim``, with a gradient if it is floating point. A tensor's values below 0 count as
            0, those above the number of scores as that number.
        temperature: the score difference that counts as near; above zero. A number, or a tensor
            as ``k``.
        dim: the dimension that holds one list of scores.
        largest: False takes the ``k`` smallest.
        log: return the logarithms of the indicators, exact where these are tiny or near 1.
        mask: boolean, broadcastable to ``scores``, True = valid. Masked scores are left out; their
            indicator is 0 (its logarithm -inf) and has no gradient.

    Returns:
        Indicators in the shape and dtype of ``scores``. Equal infinite scores share what of ``k``
        falls to them. A row with a NaN among its valid scores is NaN.

    Raises:
        TypeError: ``scores`` or ``temperature`` is not floating point, ``mask`` not boolean.
        ValueError: a number ``k`` below 0 or above the number of scores, a number ``temperature``
            that is not above 0, or a shape that does not broadcast.

    Cost: one sort, then ``O(n)``; the gradient is ``O(n)``.

    Source: Struski, Bednarczyk, Podolak, Tabor: LapSum - One Method to Differentiate Them All:
    Ranking, Sorting and Top-k Selection, ICML 2025.

    >>> soft_topk(torch.tensor([0.1, 0.7, 0.4, 0.9]), 2, temperature=0.2)
    tensor([0.0557, 0.7767, 0.2498, 0.9178])
    >>> soft_topk(torch.tensor([0.1, 0.7, 0.4, 0.9]), 2, temperature=0.001)
    tensor([0., 1., 0., 1.])
    """
    check_rows("scores", scores)
    x = scores.to(compute_dtype(scores)).movedim(dim, -1)
    if mask is not None:
        check_mask("mask", mask, "scores", scores)
        mask = mask.broadcast_to(scores.shape).movedim(dim, -1)
    if not isinstance(k, Tensor) and not 0 <= check_finite_number("k", k) <= x.shape[-1]:
        raise ValueError(f"k must be between 0 and the number of scores, {x.shape[-1]}, got {k}")
    if isinstance(temperature, Tensor):
        check_floating("temperature", temperature)
    else:
        check_positive("temperature", temperature)
    counts = _per_row("k", k, x)
    scales = _per_row("temperature", temperature, x)
    if x.shape[-1] == 0:
        return scores.clone()
    out: Tensor
    out, _ = _soft_topk(x if largest else -x, mask, counts, scales, log)
    return out.movedim(-1, dim).to(scores.dtype)


def _per_row(name: str, value: float | int | Tensor, x: Tensor) -> Tensor:
    """Return one float64 number for every row of ``x``."""
    batch = x.shape[:-1]
    if not isinstance(value, Tensor):
        return torch.full(batch, value, dtype=torch.float64, device=x.device)
    check_same_device(name, value, "scores", x)
    fits = value.dim() <= len(batch) and all(
        a in (1, b) for a, b in zip(reversed(value.shape), reversed(batch), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name} must broadcast to scores without dim, {tuple(batch)}, got {tuple(value.shape)}"
        )
    return value.double().expand(batch)
