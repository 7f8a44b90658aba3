"""SoftSort: a softmax over the distances to the sorted scores."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import check_positive
from rankgrad.operators import batched, operator, rows, shaped
from rankgrad.rankers._matrices import softsort_matrix
from rankgrad.rankers._sorted import SortedRanker, SortedScores

__all__ = ["SoftSort"]


@operator("softsort_sums")
def _sums(x: Tensor, v: Tensor) -> Tensor:
    """Return ``sum_j exp(-|x_i - x_j|) v_cj``; ``x`` [*batch, n] sorted, ``v`` [*batch, c, n]."""
    even: Tensor
    even, _ = kernels.implementation("softsort_sums", x.device)(rows(x), rows(v, 2), False)
    return shaped(even, v.shape)


@_sums.register_fake
def _(x: Tensor, v: Tensor) -> Tensor:
    return torch.empty(v.shape, dtype=v.dtype, device=v.device)


@operator("softsort_sums_backward")
def _sums_backward(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same sums, and those with ``sign(x_i - x_j)`` as a further factor."""
    serve = kernels.implementation("softsort_sums", x.device)
    even, odd = serve(rows(x), rows(v, 2), True)
    return shaped(even, v.shape), shaped(odd, v.shape)


@_sums_backward.register_fake
def _(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v), torch.empty_like(v)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, v = ctx.saved_tensors
    c = v.shape[-2]
    even, odd = _sums_backward(x, torch.cat((grad, v), dim=-2))
    grad_x = -(grad * odd[..., c:, :] + v * odd[..., :c, :]).sum(dim=-2)
    return grad_x, even[..., :c, :].clone()


_sums.register_autograd(_backward, setup_context=_setup)
_sums.register_vmap(batched(_sums))
_sums_backward.register_vmap(batched(_sums_backward, 2))


@dataclass(frozen=True)
class SoftSort(SortedRanker):
    r"""Place ``i`` takes the scores near the ``i``-th largest one, ``s_[i]``.

    .. math::
        P_{ij} = \mathrm{softmax}_j(-|s_{[i]} - s_j| / temperature)

    Ranks are mean places. With ``renormalize`` the places of item ``j`` are weighted by the same
    kernel, normalised over the places,
    ``rank_j = sum_i i K_ij / sum_i K_ij`` with ``K_ij = exp(-|s_[i] - s_j| / temperature)``:
    they stay in ``[1, n]`` and never contradict the order of the scores. Without it
    ``rank_j = sum_i i P_ij``: these ranks sum to ``n (n + 1) / 2``, but columns of ``P`` do not
    sum to 1, so that a rank can leave ``[1, n]`` and close neighbours can swap.

    Args:
        temperature: the distance over which scores mix; above zero.
        renormalize: whether the weights of an item over the places sum to 1 in its rank.

    Cost: one sort, then ``O(n)`` time and memory for ranks, sorted values and gradients, by
    running sums that decay with the gaps; ``O(n n)`` for the matrix.

    Source: Prillo, Eisenschlos: SoftSort: A Continuous Relaxation for the argsort Operator,
    ICML 2020.

    >>> scores = torch.tensor([0.1, 0.7, 0.4])
    >>> SoftSort(temperature=0.1)(scores)
    tensor([2.9480, 1.0520, 2.0000])
    >>> SoftSort(temperature=0.1).sort(scores)
    tensor([0.6844, 0.4000, 0.1156])
    >>> SoftSort(temperature=0.1).permutation(scores)
    tensor([[0.0024, 0.9503, 0.0473],
            [0.0453, 0.0453, 0.9094],
            [0.9503, 0.0024, 0.0473]])
    """

    temperature: float = 1.0
    renormalize: bool = True

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def _far(self, n: int) -> float:
        return 1000.0 * self.temperature

    def _places(self, s: SortedScores) -> Float[Tensor, "*batch n"]:
        x = s.x / self.temperature
        if self.renormalize:
            total, weight = _sums(x, torch.stack((s.weight * s.place, s.weight), -2)).unbind(-2)
            renormalized: Tensor = total / torch.where(s.valid, weight, 1.0)
            return renormalized
        share = s.weight / self._row_sums(x, s)
        ranks: Tensor = _sums(x, (s.place * share).unsqueeze(-2)).squeeze(-2)
        return ranks

    def _average(self, s: SortedScores, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        x = s.x / self.temperature
        total: Tensor = _sums(x, v.unsqueeze(-2)).squeeze(-2)
        return total / self._row_sums(x, s)

    def _row_sums(self, x: Tensor, s: SortedScores) -> Tensor:
        sums: Tensor = _sums(x, s.weight.unsqueeze(-2)).squeeze(-2)
        return torch.where(s.valid, sums, 1.0)

    def _dense(
        self, s: SortedScores, broken: Bool[Tensor, "*batch 1"]
    ) -> Float[Tensor, "*batch n n"]:
        x = torch.where(broken, torch.nan, s.x / self.temperature)
        matrix: Tensor = softsort_matrix(x, s.count, s.order, s.hard.dtype == torch.float32)
        return matrix
