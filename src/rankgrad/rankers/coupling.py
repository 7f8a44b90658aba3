"""Custom operators over the matrix ``P_ij = exp(a_i x_j + f_i + g_j)``, which is never built.

With one more factor of ``a`` or ``x`` inside, the derivatives are sums of the same kind.
"""

from typing import Any

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["coupling_apply", "coupling_logsumexp"]


@operator("coupling_logsumexp")
def coupling_logsumexp(a: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """Return ``log sum_j exp(a_i x_j + g_j)``; ``a`` [*batch, m], ``x`` and ``g`` [*batch, n].

    All float64, ``a`` and ``x`` sorted in one direction each, ``g`` concave in ``x``. An element
    with ``g_j = -inf`` is not there.
    """
    serve = kernels.implementation("coupling_logsumexp", a.device)
    out: Tensor = serve(rows(a), rows(x), rows(g))
    return shaped(out, a.shape)


@coupling_logsumexp.register_fake
def _(a: Tensor, x: Tensor, g: Tensor) -> Tensor:
    return torch.empty(a.shape, dtype=a.dtype, device=a.device)


def _setup_logsumexp(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward_logsumexp(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, x, g, top = ctx.saved_tensors
    need_a, need_x, need_g = ctx.needs_input_grad
    f = torch.where(top == -torch.inf, top, -top)  # no element in the row: no weight
    grad_a = grad_x = grad_g = None
    if need_x or need_g:
        both = coupling_apply(x, a, g, f, torch.stack((grad, grad * a), dim=-2))
        grad_g, grad_x = both.unbind(dim=-2)
    if need_a:
        grad_a = grad * coupling_apply(a, x, f, g, x.unsqueeze(-2)).squeeze(-2)
    return grad_a, grad_x if need_x else None, grad_g if need_g else None


coupling_logsumexp.register_autograd(_backward_logsumexp, setup_context=_setup_logsumexp)
coupling_logsumexp.register_vmap(batched(coupling_logsumexp))


@operator("coupling_apply")
def coupling_apply(a: Tensor, x: Tensor, f: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """Return ``sum_j P_ij v_cj``, ``v`` [*batch, c, n] -> [*batch, c, m]; the transposed matrix is
    applied by ``coupling_apply(x, a, g, f, w)``.

    Rows with ``f_i = -inf`` are zero, columns with ``g_j = -inf`` are not there. ``f`` is concave
    in ``a``, ``g`` in ``x``; all are float64.
    """
    serve = kernels.implementation("coupling_apply", a.device)
    out: Tensor = serve(rows(a), rows(x), rows(f), rows(g), rows(v, 2))
    return shaped(out, torch.Size((*v.shape[:-1], a.shape[-1])))


@coupling_apply.register_fake
def _(a: Tensor, x: Tensor, f: Tensor, g: Tensor, v: Tensor) -> Tensor:
    return torch.empty((*v.shape[:-1], a.shape[-1]), dtype=v.dtype, device=v.device)


def _setup_apply(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward_apply(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, x, f, g, v, out = ctx.saved_tensors
    need_a, need_x, need_f, need_g, _ = ctx.needs_input_grad
    c = v.shape[-2]
    # One pass for everything that is a sum over the rows.
    w = torch.cat((grad, grad * a.unsqueeze(-2)), dim=-2) if need_x else grad
    back = coupling_apply(x, a, g, f, w)
    grad_v = back[..., :c, :].clone()
    grad_x = (v * back[..., c:, :]).sum(dim=-2) if need_x else None
    grad_g = (v * grad_v).sum(dim=-2) if need_g else None
    grad_f = (grad * out).sum(dim=-2) if need_f else None
    grad_a = None
    if need_a:
        grad_a = (grad * coupling_apply(a, x, f, g, v * x.unsqueeze(-2))).sum(dim=-2)
    return grad_a, grad_x, grad_f, grad_g, grad_v


coupling_apply.register_autograd(_backward_apply, setup_context=_setup_apply)
coupling_apply.register_vmap(batched(coupling_apply))
