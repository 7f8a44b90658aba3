"""Custom operators of SoftSort and NeuralSort, from the scores as they come."""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["unimodal_average", "unimodal_matrix", "unimodal_ranks"]


def _positions(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.int64, device=x.device)


def _shape(x: Tensor, *more: int) -> torch.Size:
    return torch.Size((*x.shape[:-1], *more))


@operator("unimodal_ranks")
def unimodal_ranks(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float, renormalize: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return soft ranks, 0 where masked, and for backward the order and [*batch, 2, n] more."""
    serve = kernels.implementation("unimodal_ranks", x.device)
    ranks, order, state = serve(rows(x), rows(mask), kind, temperature, renormalize)
    shape = _shape(x, 2, x.shape[-1])
    return shaped(ranks, x.shape), shaped(order, x.shape), shaped(state, shape)


@unimodal_ranks.register_fake
def _(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float, renormalize: bool
) -> tuple[Tensor, Tensor, Tensor]:
    state = x.new_empty(_shape(x, 2, x.shape[-1]), dtype=torch.float64)
    return x.new_empty(x.shape), _positions(x), state


@operator("unimodal_ranks_vjp")
def _ranks_vjp(
    grad: Tensor, x: Tensor, order: Tensor, state: Tensor, kind: str, temperature: float,
    renormalize: bool,
) -> Tensor:  # fmt: skip
    serve = kernels.implementation("unimodal_ranks_vjp", x.device)
    given = rows(grad), rows(x), rows(order), rows(state, 2)
    out: Tensor = serve(*given, kind, temperature, renormalize)
    return shaped(out, x.shape)


@_ranks_vjp.register_fake
def _(
    grad: Tensor, x: Tensor, order: Tensor, state: Tensor, kind: str, temperature: float,
    renormalize: bool,
) -> Tensor:  # fmt: skip
    return x.new_empty(x.shape)


def _setup_ranks(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, *ctx.settings = inputs
    _, order, state = output
    ctx.mark_non_differentiable(order, state)
    ctx.save_for_backward(x, order, state)


def _backward_ranks(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return _ranks_vjp(grad, *ctx.saved_tensors, *ctx.settings), None, None, None, None


unimodal_ranks.register_autograd(_backward_ranks, setup_context=_setup_ranks)
unimodal_ranks.register_vmap(batched(unimodal_ranks, 3))
_ranks_vjp.register_vmap(batched(_ranks_vjp))


@operator("unimodal_average")
def unimodal_average(
    x: Tensor, values: Tensor | None, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the matrix times the values, or the scores, and for backward the order."""
    serve = kernels.implementation("unimodal_average", x.device)
    out, order = serve(rows(x), rows(values), rows(mask), kind, temperature)
    return shaped(out, x.shape), shaped(order, x.shape)


@unimodal_average.register_fake
def _(
    x: Tensor, values: Tensor | None, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), _positions(x)


@operator("unimodal_average_vjp")
def _average_vjp(
    grad: Tensor, x: Tensor, values: Tensor | None, order: Tensor, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of scores and values; that of the values empty if there are none."""
    serve = kernels.implementation("unimodal_average_vjp", x.device)
    out, to_values = serve(rows(grad), rows(x), rows(values), rows(order), kind, temperature)
    shape = _shape(x, 0 if values is None else x.shape[-1])
    return shaped(out, x.shape), shaped(to_values, shape)


@_average_vjp.register_fake
def _(
    grad: Tensor, x: Tensor, values: Tensor | None, order: Tensor, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(_shape(x, 0 if values is None else x.shape[-1]))


def _setup_average(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, values, _, *ctx.settings = inputs
    order = output[1]
    ctx.mark_non_differentiable(order)
    ctx.save_for_backward(x, values, order)


def _backward_average(ctx: Any, grad: Tensor, _order: Tensor) -> tuple[Tensor | None, ...]:
    to_x, to_values = _average_vjp(grad, *ctx.saved_tensors, *ctx.settings)
    given = ctx.saved_tensors[1] is not None
    return to_x, to_values if given else None, None, None, None


unimodal_average.register_autograd(_backward_average, setup_context=_setup_average)
unimodal_average.register_vmap(batched(unimodal_average, 2))
_average_vjp.register_vmap(batched(_average_vjp, 2))


@operator("unimodal_matrix")
def unimodal_matrix(
    x: Tensor, mask: Tensor | None, kind: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the matrix, [*batch, n, n], and for backward the order."""
    serve = kernels.implementation("unimodal_matrix", x.device)
    matrix, order = serve(rows(x), rows(mask), kind, temperature)
    n = x.shape[-1]
    return shaped(matrix, _shape(x, n, n)), shaped(order, x.shape)


@unimodal_matrix.register_fake
def _(x: Tensor, mask: Tensor | None, kind: str, temperature: float) -> tuple[Tensor, Tensor]:
    n = x.shape[-1]
    return x.new_empty(_shape(x, n, n)), _positions(x)


@operator("unimodal_matrix_vjp")
def _matrix_vjp(
    grad: Tensor, matrix: Tensor, x: Tensor, order: Tensor, kind: str, temperature: float
) -> Tensor:
    serve = kernels.implementation("unimodal_matrix_vjp", x.device)
    out: Tensor = serve(rows(grad, 2), rows(matrix, 2), rows(x), rows(order), kind, temperature)
    return shaped(out, x.shape)


@_matrix_vjp.register_fake
def _(
    grad: Tensor, matrix: Tensor, x: Tensor, order: Tensor, kind: str, temperature: float
) -> Tensor:
    return x.new_empty(x.shape)


def _setup_matrix(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, *ctx.settings = inputs
    matrix, order = output
    ctx.mark_non_differentiable(order)
    ctx.save_for_backward(matrix, x, order)


def _backward_matrix(ctx: Any, grad: Tensor, _order: Tensor) -> tuple[Tensor | None, ...]:
    return _matrix_vjp(grad, *ctx.saved_tensors, *ctx.settings), None, None, None


unimodal_matrix.register_autograd(_backward_matrix, setup_context=_setup_matrix)
unimodal_matrix.register_vmap(batched(unimodal_matrix, 2))
_matrix_vjp.register_vmap(batched(_matrix_vjp))
