"""The custom operator that scales the columns and rows of a matrix in turn."""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["scaled_product"]


def _factors(values: Tensor, steps: int) -> torch.Size:
    return torch.Size((*values.shape[:-1], 2, steps, values.shape[-1]))


@operator("scaled_product")
def scaled_product(matrix: Tensor, values: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the scaled matrix times the values, and for backward the factors.

    ``matrix`` is [*batch, n, n], ``values`` [*batch, n], of one dtype; at least one step.
    """
    serve = kernels.implementation("scaled_product", values.device)
    out, state = serve(rows(matrix, 2), rows(values), steps)
    return shaped(out, values.shape), shaped(state, _factors(values, steps))


@scaled_product.register_fake
def _(matrix: Tensor, values: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    return values.new_empty(values.shape), values.new_empty(_factors(values, steps))


@operator("scaled_product_vjp")
def _vjp(grad: Tensor, matrix: Tensor, values: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    serve = kernels.implementation("scaled_product_vjp", values.device)
    to_matrix, to_values = serve(rows(grad), rows(matrix, 2), rows(values), rows(state, 3))
    return shaped(to_matrix, matrix.shape), shaped(to_values, values.shape)


@_vjp.register_fake
def _(grad: Tensor, matrix: Tensor, values: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return matrix.new_empty(matrix.shape), values.new_empty(values.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    matrix, values, _ = inputs
    state = output[1]
    ctx.mark_non_differentiable(state)
    ctx.save_for_backward(matrix, values, state)


def _backward(ctx: Any, grad: Tensor, _state: Tensor) -> tuple[Tensor | None, ...]:
    return *_vjp(grad, *ctx.saved_tensors), None


scaled_product.register_autograd(_backward, setup_context=_setup)
scaled_product.register_vmap(batched(scaled_product, 2))
_vjp.register_vmap(batched(_vjp, 2))
