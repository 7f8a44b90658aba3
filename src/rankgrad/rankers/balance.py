"""Sinkhorn's algorithm on ``exp(a_i x_j + f_i + g_j)``, with the gradient of its fixed point."""

from typing import Any

import torch
from torch import Tensor

from rankgrad.operators import batched, operator
from rankgrad.rankers.coupling import coupling_apply, coupling_logsumexp

__all__ = ["balance", "unrolled"]

_LARGEST_RELAXATION = 1.994


def unrolled(
    a: Tensor, x: Tensor, g: Tensor, valid: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Return the potentials after so many iterations of rows, then columns; differentiable."""
    f = g
    for _ in range(iterations):
        f = torch.where(valid, -coupling_logsumexp(a, x, g), -torch.inf)
        g = torch.where(valid, -coupling_logsumexp(x, a, f), -torch.inf)
    return f, g


@operator("balance")
def balance(
    a: Tensor, x: Tensor, g: Tensor, valid: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Return the potentials with which rows and columns of the matrix sum to 1.

    Over-relaxed: once the error shrinks at a steady rate, that rate tells the best relaxation
    factor, with which the number of iterations is about the square root of what it was. The last
    iteration is a plain one, so that columns sum to 1 exactly and rows within the tolerance.
    """
    f, g = _relaxed(a, x, torch.where(valid, g, 0.0), valid, iterations - 1, tolerance)
    f = -coupling_logsumexp(a, x, _masked(g, valid))
    g = -coupling_logsumexp(x, a, _masked(f, valid))
    return _masked(f, valid), _masked(g, valid)


def _masked(potential: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, potential, -torch.inf)


def _relaxed(
    a: Tensor, x: Tensor, g: Tensor, valid: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(x[..., :1])
    factor, rate, size, steps = one, 0 * one, 0 * one, 0 * one
    f = torch.zeros_like(g)
    for iteration in range(iterations):
        df = torch.where(valid, -coupling_logsumexp(a, x, _masked(g, valid)) - f, 0.0)
        f = f + (df if iteration == 0 else factor * df)
        dg = torch.where(valid, -coupling_logsumexp(x, a, _masked(f, valid)) - g, 0.0)
        g = g + factor * dg
        error = dg.abs().amax(-1, keepdim=True)
        if iteration > 0:
            error = torch.maximum(error, df.abs().amax(-1, keepdim=True))
        if not (error > tolerance).any():  # a row with NaN is as done as it will be
            break
        # The error of over-relaxation by w falls by the rate r with (r + w - 1)^2 = r w^2 q,
        # where q is the rate of the plain iteration and 2 / (1 + sqrt(1 - q)) the best factor.
        before, size = size, dg.square().sum(-1, keepdim=True).sqrt()
        last, rate = rate, size / before
        steps = steps + 1
        steady = (steps >= 8) & (rate < 1) & ((rate - last).abs() < 0.02 * (1 - rate))
        plain = (rate + factor - 1).square() / (rate * factor.square())
        best = 2 / (1 + (1 - plain).clamp(min=0).sqrt())
        best = best.clamp(max=_LARGEST_RELAXATION)
        better = steady & (best > factor + 0.01)
        steps = torch.where(better, 0.0, steps)
        factor = torch.where(better, best, factor)
        factor = torch.where((rate > 1.5) & (steps > 1), (0.9 * factor).clamp(min=1), factor)
    return f, g


@balance.register_fake
def _(
    a: Tensor, x: Tensor, g: Tensor, valid: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@operator("balance_vjp")
def _balance_vjp(
    a: Tensor, x: Tensor, f: Tensor, g: Tensor, grad_f: Tensor, grad_g: Tensor, tolerance: float
) -> Tensor:
    """Return the gradient for ``x``: with rows and columns of ``P`` summing to 1,

    ``-sum_i a_i P_ij (u_i + w_j)`` where ``u + P w = grad_f`` and ``P' u + w = grad_g``.
    """
    valid = g > -torch.inf

    def apply(v: Tensor) -> Tensor:
        moved: Tensor = coupling_apply(a, x, f, g, v.unsqueeze(-2)).squeeze(-2)
        return moved

    def transposed(v: Tensor) -> Tensor:
        moved: Tensor = coupling_apply(x, a, g, f, v.unsqueeze(-2)).squeeze(-2)
        return moved

    grad_f, grad_g = torch.where(valid, grad_f, 0.0), torch.where(valid, grad_g, 0.0)
    w = _conjugate_gradients(
        lambda v: v - transposed(apply(v)), grad_g - transposed(grad_f), valid, tolerance
    )
    u = grad_f - apply(w)
    both = coupling_apply(x, a, g, f, torch.stack((a * u, a), -2))
    grad: Tensor = -(both[..., 0, :] + w * both[..., 1, :])
    return torch.where(valid, grad, 0.0)


def _conjugate_gradients(system: Any, b: Tensor, valid: Tensor, tolerance: float) -> Tensor:
    """Solve ``system(w) = b`` by row, both orthogonal to the constant, which maps to 0."""
    count = valid.sum(-1, keepdim=True).clamp(min=1)

    def centred(v: Tensor) -> Tensor:
        return torch.where(valid, v - v.sum(-1, keepdim=True) / count, 0.0)

    w = torch.zeros_like(b)
    residual = centred(b)
    direction = residual
    energy = residual.square().sum(-1, keepdim=True)
    enough = energy * tolerance**2
    for _ in range(10 * b.shape[-1] + 20):
        active = energy > enough
        if not active.any():
            break
        image = centred(system(direction))
        curvature = (direction * image).sum(-1, keepdim=True)
        active = active & (curvature > 0)
        step = torch.where(active, energy / torch.where(active, curvature, 1.0), 0.0)
        w = w + step * direction
        residual = residual - step * image
        before, energy = energy, residual.square().sum(-1, keepdim=True)
        energy = torch.where(active, energy, 0.0)
        direction = residual + torch.where(active, energy / before, 0.0) * direction
    return w


@_balance_vjp.register_fake
def _(
    a: Tensor, x: Tensor, f: Tensor, g: Tensor, grad_f: Tensor, grad_g: Tensor, tolerance: float
) -> Tensor:
    return torch.empty_like(x)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, x, _, _, _, ctx.tolerance = inputs
    ctx.save_for_backward(a, x, *output)


def _backward(ctx: Any, grad_f: Tensor, grad_g: Tensor) -> tuple[Tensor | None, ...]:
    grad = _balance_vjp(*ctx.saved_tensors, grad_f, grad_g, ctx.tolerance)
    return None, grad, None, None, None, None


balance.register_autograd(_backward, setup_context=_setup)
balance.register_vmap(batched(balance, 2))
_balance_vjp.register_vmap(batched(_balance_vjp))
