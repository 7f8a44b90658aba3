"""Soft average precision and soft recall of rows of scores: the operator and its gradient."""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import check_beside, compute_dtype
from rankgrad.metrics.of_ranks import is_relevant
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["LEFT_OUT", "NOT_RELEVANT", "RELEVANT", "coded", "soft_retrieval"]

# What an item is to its row, in one byte.
LEFT_OUT, NOT_RELEVANT, RELEVANT = 0, 1, 2


def coded(scores: Tensor, relevance: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the arguments; return the scores to compute with and the code of every item."""
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    codes = is_relevant(relevance).to(torch.uint8) + NOT_RELEVANT
    codes = codes if mask is None else codes * mask.to(torch.uint8)
    return scores.to(compute_dtype(scores)), codes


@operator("soft_retrieval")
def soft_retrieval(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    """Return one value for each row of the last dimension, in the dtype of the scores.

    Without ``ks`` the soft average precision, with them the soft recall, averaged over them; the
    formulas stand with :func:`rankgrad.kernels.reference.soft_retrieval`.
    """
    serve = kernels.implementation("soft_retrieval", scores.device)
    values: Tensor = serve(rows(scores), rows(codes), temperature, ks, widths)
    return shaped(values, scores.shape[:-1])


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
    serve = kernels.implementation("soft_retrieval_backward", scores.device)
    out: Tensor = serve(rows(grad, 0), rows(scores), rows(codes), temperature, ks, widths)
    return shaped(out, scores.shape)


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


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scores, codes, *ctx.settings = inputs
    ctx.save_for_backward(scores, codes)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _soft_retrieval_backward(grad, *ctx.saved_tensors, *ctx.settings), *(None,) * 4


soft_retrieval.register_autograd(_backward, setup_context=_setup)
soft_retrieval.register_vmap(batched(soft_retrieval))
_soft_retrieval_backward.register_vmap(batched(_soft_retrieval_backward))
