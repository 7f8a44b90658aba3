"""Custom operators that write whole permutation matrices of sorted scores."""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["coupling_matrix"]


def _square(x: Tensor, single: bool) -> Tensor:
    dtype = torch.float32 if single else torch.float64
    return torch.empty((*x.shape, x.shape[-1]), dtype=dtype, device=x.device)


@operator("coupling_matrix")
def coupling_matrix(
    a: Tensor, x: Tensor, f: Tensor, g: Tensor, order: Tensor, single: bool
) -> Tensor:
    """Return ``exp(a_i x_j + f_i + g_j)`` with column ``j`` at ``order[j]``."""
    serve = kernels.implementation("coupling_matrix", x.device)
    out: Tensor = serve(rows(a), rows(x), rows(f), rows(g), rows(order), single)
    return shaped(out, torch.Size((*x.shape, x.shape[-1])))


@coupling_matrix.register_fake
def _(a: Tensor, x: Tensor, f: Tensor, g: Tensor, order: Tensor, single: bool) -> Tensor:
    return _square(x, single)


@operator("coupling_matrix_vjp")
def _coupling_matrix_vjp(
    grad: Tensor, matrix: Tensor, a: Tensor, x: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    serve = kernels.implementation("coupling_matrix_vjp", x.device)
    out = serve(rows(grad, 2), rows(matrix, 2), rows(a), rows(x), rows(order))
    to_a, to_x, to_f, to_g = (shaped(part, x.shape) for part in out)
    return to_a, to_x, to_f, to_g


@_coupling_matrix_vjp.register_fake
def _(
    grad: Tensor, matrix: Tensor, a: Tensor, x: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    to_a, to_x, to_f, to_g = (
        torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(4)
    )
    return to_a, to_x, to_f, to_g


def _setup_coupling(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, x, _, _, order, _ = inputs
    ctx.save_for_backward(output, a, x, order)


def _backward_coupling(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_coupling_matrix_vjp(grad, *ctx.saved_tensors), None, None


coupling_matrix.register_autograd(_backward_coupling, setup_context=_setup_coupling)
coupling_matrix.register_vmap(batched(coupling_matrix))
_coupling_matrix_vjp.register_vmap(batched(_coupling_matrix_vjp, 4))
