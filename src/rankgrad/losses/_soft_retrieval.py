"""Soft average precision and soft recall of rows of scores: the operator and its gradient."""

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import operator

__all__ = ["LEFT_OUT", "NOT_RELEVANT", "RELEVANT", "item_codes", "soft_retrieval"]

# What an item is to its row, in one byte.
LEFT_OUT, NOT_RELEVANT, RELEVANT = 0, 1, 2


def item_codes(relevant: Tensor, mask: Tensor | None) -> Tensor:
    """Return the code of every item, from two boolean tensors of one shape."""
    codes = relevant.to(torch.uint8) + NOT_RELEVANT
    return codes if mask is None else codes * mask.to(torch.uint8)


@operator("soft_retrieval")
def soft_retrieval(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    """Return one value for each row of the last dimension, in the dtype of the scores.

    Without ``ks`` the soft average precision, with them the soft recall, averaged over them; the
    formulas stand with :func:`rankgrad.kernels.reference.soft_retrieval`.
    """
    n = scores.shape[-1]
    serve = kernels.implementation("soft_retrieval", scores.device)
    values: Tensor = serve(
        *(x.reshape(scores.shape[:-1].numel(), n) for x in (scores, codes)),
        temperature,
        ks,
        widths,
    )
    return values.reshape(scores.shape[:-1])


@soft_retrieval.register_fake
def _(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    return torch.empty(scores.shape[:-1], dtype=scores.dtype, device=scores.device)


@operator("soft_retrieval_backward")
def _soft_retrieval_backward(
    grad: Tensor,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    rows, n = scores.shape[:-1].numel(), scores.shape[-1]
    serve = kernels.implementation("soft_retrieval_backward", scores.device)
    out: Tensor = serve(
        grad.reshape(rows),
        *(x.reshape(rows, n) for x in (scores, codes)),
        temperature,
        ks,
        widths,
    )
    return out.reshape(scores.shape)


@_soft_retrieval_backward.register_fake
def _(
    grad: Tensor,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    return torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]  # torch's own context object
    scores, codes, *ctx.settings = inputs
    ctx.save_for_backward(scores, codes)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _soft_retrieval_backward(grad, *ctx.saved_tensors, *ctx.settings), *(None,) * 4


soft_retrieval.register_autograd(_backward, setup_context=_setup)


def _batched(in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Move the dimension that vmap maps over to the front, and give it to all of them."""
    size = next(x.shape[dim] for x, dim in zip(tensors, in_dims, strict=True) if dim is not None)
    return tuple(
        x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(tensors, in_dims, strict=True)
    )


@soft_retrieval.register_vmap
def _(info, in_dims, scores, codes, *settings):  # type: ignore[no-untyped-def]
    return soft_retrieval(*_batched(in_dims[:2], scores, codes), *settings), 0


@_soft_retrieval_backward.register_vmap
def _(info, in_dims, grad, scores, codes, *settings):  # type: ignore[no-untyped-def]
    batched = _batched(in_dims[:3], grad, scores, codes)
    return _soft_retrieval_backward(*batched, *settings), 0
