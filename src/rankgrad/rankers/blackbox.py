"""Hard ranks with the gradient of a linear interpolation of the loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice, check_positive
from rankgrad.operators import batched, operator
from rankgrad.rankers.base import Ranker
from rankgrad.ranks import TIES, hard_rank

__all__ = ["Blackbox"]


@operator("blackbox_rank")
def _blackbox_rank(x: Tensor, mask: Tensor | None, strength: float, ties: str) -> Tensor:
    ranks: Tensor = hard_rank(x, mask, True, ties, False)
    return ranks


@_blackbox_rank.register_fake
def _(x: Tensor, mask: Tensor | None, strength: float, ties: str) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, mask, ctx.strength, ctx.ties = inputs
    ctx.save_for_backward(x, mask, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, mask, ranks = ctx.saved_tensors
    moved = hard_rank(torch.add(x, grad, alpha=ctx.strength), mask, True, ctx.ties, False)
    return (moved - ranks) / ctx.strength, None, None, None


_blackbox_rank.register_autograd(_backward, setup_context=_setup)
_blackbox_rank.register_vmap(batched(_blackbox_rank))


@dataclass(frozen=True)
class Blackbox(Ranker):
    r"""Hard ranks forward; backward the difference that one step against the loss makes.

    For the gradient ``g`` that arrives at the ranks, the scores get

    .. math:: -\frac{1}{\lambda} \left( rank(s) - rank(s + \lambda g) \right),

    which is the gradient of a piecewise linear interpolation of the loss. It is no derivative of
    the ranks, and not linear in ``g``: losses of another scale want another strength (a
    ``GradScaler`` makes such a loss). A large
    strength lets scores change places that are far apart; where the step changes no place the
    gradient is zero.

    On ranks that a loss divides by their number ``n``, strength ``n * lam`` is the operator of
    RankSim with its ``lam``, which differs only by the 1e-8 that it adds to its denominator.

    Args:
        strength: the step size lambda; above zero.
        ties: how equal scores are ranked, before and after the step; see :func:`rankgrad.rank`.

    Cost: one sort forward and one backward.

    Source: Vlastelica, Paulus, Musil, Martius, Rolínek: Differentiation of Blackbox Combinatorial
    Solvers, ICLR 2020; Rolínek, Musil, Paulus, Vlastelica, Michaelis, Martius: Optimizing
    Rank-Based Metrics with Blackbox Differentiation, CVPR 2020.

    >>> scores = torch.tensor([0.1, 0.7, 0.4], requires_grad=True)
    >>> ranks = Blackbox(strength=0.5)(scores)
    >>> ranks
    tensor([3., 1., 2.], grad_fn=<...>)
    >>> ranks[0].backward()
    >>> scores.grad
    tensor([-2.,  0.,  2.])
    """

    strength: float = 1.0
    ties: str = "ordinal"

    _minds_nan_and_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("strength", self.strength)
        check_choice("ties", self.ties, TIES)

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        ranks: Tensor = _blackbox_rank(scores, mask, float(self.strength), self.ties)
        return ranks
