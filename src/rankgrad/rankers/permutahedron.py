"""Projection onto the permutahedron as custom operators: soft ranks and soft sorting."""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["project_rank", "project_sort"]


@operator("project_rank")
def project_rank(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return soft ranks of the last dimension, 0 where masked, and the blocks for backward."""
    serve = kernels.implementation("project_rank", x.device)
    ranks, block = serve(rows(x), rows(mask), strength, entropic)
    return shaped(ranks, x.shape), shaped(block, x.shape)


@operator("project_sort")
def project_sort(
    x: Tensor, mask: Tensor | None, strength: float, entropic: bool
) -> tuple[Tensor, Tensor]:
    """Return softly sorted values, largest first, 0 behind them, and the blocks for backward."""
    serve = kernels.implementation("project_sort", x.device)
    values, block = serve(rows(x), rows(mask), strength, entropic)
    return shaped(values, x.shape), shaped(block, x.shape)


@operator("project_rank_vjp")
def _project_rank_vjp(
    grad: Tensor, ranks: Tensor, block: Tensor, strength: float, entropic: bool
) -> Tensor:
    serve = kernels.implementation("project_rank_vjp", grad.device)
    out: Tensor = serve(rows(grad), rows(ranks), rows(block), strength, entropic)
    return shaped(out, grad.shape)


@operator("project_sort_vjp")
def _project_sort_vjp(grad: Tensor, x: Tensor, block: Tensor, entropic: bool) -> Tensor:
    serve = kernels.implementation("project_sort_vjp", grad.device)
    out: Tensor = serve(rows(grad), rows(x), rows(block), entropic)
    return shaped(out, grad.shape)


def _fake(x: Tensor, mask: Tensor | None, strength: float, entropic: bool) -> tuple[Tensor, Tensor]:
    block = torch.empty(x.shape, dtype=torch.int32, device=x.device)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), block


project_rank.register_fake(_fake)
project_sort.register_fake(_fake)


@_project_rank_vjp.register_fake
def _(grad: Tensor, ranks: Tensor, block: Tensor, strength: float, entropic: bool) -> Tensor:
    return torch.empty(ranks.shape, dtype=ranks.dtype, device=ranks.device)


@_project_sort_vjp.register_fake
def _(grad: Tensor, x: Tensor, block: Tensor, entropic: bool) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _setup_rank(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ranks, block = output
    ctx.strength, ctx.entropic = inputs[2:]
    ctx.mark_non_differentiable(block)
    ctx.save_for_backward(ranks, block)


def _backward_rank(ctx: Any, grad: Tensor, _block: Tensor) -> tuple[Tensor | None, ...]:
    ranks, block = ctx.saved_tensors
    return _project_rank_vjp(grad, ranks, block, ctx.strength, ctx.entropic), None, None, None


def _setup_sort(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, _, _, ctx.entropic = inputs
    block = output[1]
    ctx.mark_non_differentiable(block)
    ctx.save_for_backward(x, block)


def _backward_sort(ctx: Any, grad: Tensor, _block: Tensor) -> tuple[Tensor | None, ...]:
    x, block = ctx.saved_tensors
    return _project_sort_vjp(grad, x, block, ctx.entropic), None, None, None


project_rank.register_autograd(_backward_rank, setup_context=_setup_rank)
project_sort.register_autograd(_backward_sort, setup_context=_setup_sort)


project_rank.register_vmap(batched(project_rank, outputs=2))
project_sort.register_vmap(batched(project_sort, outputs=2))
_project_rank_vjp.register_vmap(batched(_project_rank_vjp))
_project_sort_vjp.register_vmap(batched(_project_sort_vjp))
