"""The custom operator of soft ranks pair by pair, for short rows."""

from typing import Any

from torch import Tensor

from rankgrad import kernels
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["pairwise_ranks"]


@operator("pairwise_ranks")
def pairwise_ranks(
    x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    """Return ``1 + sum over j != i of H((x_j - x_i) / width)``; see the reference kernel."""
    serve = kernels.implementation("pairwise_ranks", x.device)
    out: Tensor = serve(rows(x), rows(mask), steepness, kind, scale)
    return shaped(out, x.shape)


@pairwise_ranks.register_fake
def _(x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float) -> Tensor:
    return x.new_empty(x.shape)


@operator("pairwise_ranks_vjp")
def _vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    serve = kernels.implementation("pairwise_ranks_vjp", x.device)
    out: Tensor = serve(rows(grad), rows(x), rows(mask), steepness, kind, scale)
    return shaped(out, x.shape)


@_vjp.register_fake
def _(
    grad: Tensor, x: Tensor, mask: Tensor | None, steepness: float, kind: str, scale: float
) -> Tensor:
    return x.new_empty(x.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, steepness, kind, scale = inputs
    ctx.settings = steepness, kind, scale
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _vjp(grad, *ctx.saved_tensors, *ctx.settings), None, None, None, None


pairwise_ranks.register_autograd(_backward, setup_context=_setup)
pairwise_ranks.register_vmap(batched(pairwise_ranks))
_vjp.register_vmap(batched(_vjp))
