"""Differentiable sorting networks."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import check_choice, check_finite_number, check_positive
from rankgrad.operators import batched, operator, rows, shaped
from rankgrad.rankers.permutation import PermutationRanker
from rankgrad.sorting import valid_first

__all__ = ["DISTRIBUTIONS", "KINDS", "SortingNetwork", "network_apply"]

KINDS = ("odd_even", "bitonic")
DISTRIBUTIONS = ("cauchy", "logistic", "logistic_phi", "normal", "reciprocal", "optimal")


@operator("network_apply")
def network_apply(
    x: Tensor,
    count: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
    transposed: bool,
) -> Tensor:
    """Return ``P v``, or ``P' v``: [*batch, n, c] -> [*batch, n, c]; ``P`` itself without ``v``.

    ``P`` is the relaxed permutation matrix, largest first, of the first ``count`` [*batch] of the
    scores ``x`` [*batch, n]; what is behind them is zero.
    """
    serve = kernels.implementation("network_apply", x.device)
    out: Tensor = serve(
        rows(x), rows(count, 0), rows(v, 2), kind, distribution, steepness, art, transposed
    )
    return shaped(out, torch.Size((*x.shape, out.shape[-1])))


@network_apply.register_fake
def _(
    x: Tensor,
    count: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
    transposed: bool,
) -> Tensor:
    channels = x.shape[-1] if v is None else v.shape[-1]
    return torch.empty((*x.shape, channels), dtype=x.dtype, device=x.device)


@operator("network_gradient")
def _network_gradient(
    x: Tensor,
    count: Tensor,
    w: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
) -> Tensor:
    """Return the gradient of ``sum(w * (P v))`` for ``x``."""
    serve = kernels.implementation("network_gradient", x.device)
    out: Tensor = serve(
        rows(x), rows(count, 0), rows(w, 2), rows(v, 2), kind, distribution, steepness, art
    )
    return shaped(out, x.shape)


@_network_gradient.register_fake
def _(
    x: Tensor,
    count: Tensor,
    w: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, count, v, *ctx.settings, ctx.transposed = inputs
    ctx.save_for_backward(x, count, v)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, count, v = ctx.saved_tensors
    grad_x = grad_v = None
    if ctx.needs_input_grad[0]:
        w, v_ = (v, grad) if ctx.transposed else (grad, v)
        grad_x = _network_gradient(x, count, w, v_, *ctx.settings)
    if v is not None and ctx.needs_input_grad[2]:
        grad_v = network_apply(x, count, grad, *ctx.settings, not ctx.transposed)
    return grad_x, None, grad_v, None, None, None, None, None


network_apply.register_autograd(_backward, setup_context=_setup)
network_apply.register_vmap(batched(network_apply))
_network_gradient.register_vmap(batched(_network_gradient))

_FAR = 1e30  # what stands in for an infinite score: no comparator mixes it with a finite one


@dataclass(frozen=True)
class SortingNetwork(PermutationRanker):
    r"""A sorting network whose comparators swap softly.

    A comparator on the values ``a`` and ``b`` of two wires hands on
    ``min = F a + (1 - F) b`` and ``max = (1 - F) a + F b``, where ``F = F(steepness (b - a))`` is
    a distribution function:

    =============== =========================================================================
    "cauchy"        ``1/2 + atan(v) / pi``: error and gradient reach far, monotone
    "logistic"      ``1 / (1 + exp(-v))``
    "logistic_phi"  the same of ``v / |b - a|^art_lambda``: steeper for what is close together
    "normal"        the normal distribution function
    "reciprocal"    ``1/2 + v / (2 (2 + |v|))``: monotone
    "optimal"       ``1/2 + v`` up to ``|v| = 1/4``, then ``1 - 1/(16 |v|)``: monotone, least error
    =============== =========================================================================

    The product of all comparators is the relaxed permutation matrix. Its rows and columns sum to
    1. Ranks are mean places: they sum to ``n (n + 1) / 2`` and stay in ``[1, n]``.

    What a network does between neighbours depends on the order in which the scores come: other
    than those of all other rankers, its soft ranks do not exactly follow a permutation of the
    scores. "monotone" means that no gradient of the sorted values is ever of the wrong sign.

    Args:
        kind: "odd_even" compares neighbours, in ``n`` layers; "bitonic" merges, in
            ``log2(n) (log2(n) + 1) / 2`` layers, at any ``n``.
        distribution: one of the table.
        steepness: the inverse of a temperature; above zero.
        art_lambda: the exponent of "logistic_phi", in ``[0, 1)``.

    Cost: a vector goes through all layers, ``O(n layers)`` for ranks, sorted values and their
    gradients; ``n`` vectors for the matrix. Memory ``O(n)``.

    Source: Petersen, Borgelt, Kuehne, Deussen: Differentiable Sorting Networks for Scalable
    Sorting and Ranking Supervision, ICML 2021; the same: Monotonic Differentiable Sorting
    Networks, ICLR 2022. Numbers are those of their package, with its places counted from the
    other end.

    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> SortingNetwork("odd_even")(scores)
    tensor([2.8041, 1.2183, 1.9776])
    >>> SortingNetwork("bitonic", distribution="logistic", steepness=20.0).sort(scores)
    tensor([0.6985, 0.4008, 0.1007])
    """

    kind: str = "odd_even"
    distribution: str = "cauchy"
    steepness: float = 10.0
    art_lambda: float = 0.25

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_choice("distribution", self.distribution, DISTRIBUTIONS)
        check_positive("steepness", self.steepness)
        if not 0 <= check_finite_number("art_lambda", self.art_lambda) < 1:
            raise ValueError(f"art_lambda must be in [0, 1), got {self.art_lambda}")

    def _through(
        self, x: Tensor, count: Tensor, v: Tensor | None, transposed: bool = False
    ) -> Tensor:
        settings = float(self.steepness), float(self.art_lambda)
        out: Tensor = network_apply(
            _finite(x), count, v, self.kind, self.distribution, *settings, transposed
        )
        return out

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        x, count, order = _valid_first(scores, mask)
        place = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        ranks = self._through(x, count, place.expand(x.shape).unsqueeze(-1), True).squeeze(-1)
        return ranks if order is None else torch.zeros_like(ranks).scatter(-1, order, ranks)

    def _sorted(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        x, count, _ = _valid_first(scores, mask)
        out = self._through(x, count, _finite(x).unsqueeze(-1)).squeeze(-1)
        stands_in = (out.abs() > 0.5 * _FAR) & x.isinf().any(-1, keepdim=True)
        return torch.where(stands_in, out.sign() * torch.inf, out)

    def _reordered(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*batch n"] | None,
        values: Float[Tensor, "*batch n"],
    ) -> Float[Tensor, "*batch n"]:
        x, count, order = _valid_first(scores, mask)
        values = values if order is None else values.gather(-1, order)
        return self._through(x, count, values.unsqueeze(-1)).squeeze(-1)

    def _matrix(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n n"]:
        x, count, order = _valid_first(scores, mask)
        matrix = self._through(x, count, None)
        broken = scores.isnan().any(dim=-1, keepdim=True).unsqueeze(-1)
        matrix = torch.where(broken, torch.nan, matrix)
        if order is None:
            return matrix
        columns = order.unsqueeze(-2).expand(matrix.shape)
        return torch.zeros_like(matrix).scatter(-1, columns, matrix)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x.isfinite(), x, torch.where(x < 0, -_FAR, _FAR).to(x.dtype))


def _valid_first(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the valid scores in front, as they came, how many they are, and where they were."""
    if mask is None:
        count = torch.full(scores.shape[:-1], scores.shape[-1], device=scores.device)
        return scores, count, None
    order = valid_first(mask)
    return scores.gather(-1, order), mask.sum(-1), order
