"""The values of one ranker with the gradient of another."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.rankers.base import Ranker
from rankgrad.rankers.resolve import RankerLike, as_ranker

__all__ = ["StraightThrough"]


@dataclass(frozen=True)
class StraightThrough(Ranker):
    """The ranks of ``hard``, exactly, with the gradient of ``soft``.

    The loss sees the ranks that the metric sees; only its gradient is relaxed.

    Args:
        hard: the ranker whose values are taken; a :class:`Ranker`, a name or a callable.
        soft: the ranker whose gradient is taken.

    Cost: that of both.

    Source: Bengio, Léonard, Courville: Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation, 2013.

    >>> import torch
    >>> from rankgrad.rankers import Projection
    >>> scores = torch.tensor([0.1, 0.7, 0.4], requires_grad=True)
    >>> ranks = StraightThrough(soft=Projection(strength=0.5))(scores)
    >>> ranks
    tensor([3., 1., 2.], grad_fn=<...>)
    >>> ranks[0].backward()
    >>> scores.grad
    tensor([-1.3333,  0.6667,  0.6667])
    """

    hard: RankerLike = "hard"
    soft: RankerLike = "projection"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hard", as_ranker(self.hard))
        object.__setattr__(self, "soft", as_ranker(self.soft))

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        soft = as_ranker(self.soft)(scores, mask)
        # Zero, exactly, with the gradient of soft.
        return as_ranker(self.hard)(scores, mask).detach() + (soft - soft.detach())
