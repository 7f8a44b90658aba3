"""From what a user writes after ``ranker=`` to a ranker."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankgrad.rankers.base import Ranker
from rankgrad.rankers.learned import LearnedRanker
from rankgrad.sorters import Sorter

__all__ = ["Custom", "RANKERS", "RankerLike", "as_ranker"]

RankerLike = Ranker | str | Callable[..., Tensor]


# Shorthand -> the ranker with its default settings. Filled by rankgrad.rankers.shorthands, which
# knows every ranker; the rankers that take others by name need only this file.
RANKERS: dict[str, Ranker] = {}


@dataclass(frozen=True)
class Custom(Ranker):
    """A callable of the user's as a ranker.

    Args:
        function: takes ``(scores)`` or ``(scores, mask)`` and returns ranks of the same shape,
            rank 1 = largest. Without the second parameter it cannot serve calls with a mask.

    >>> import torch
    >>> Custom(lambda scores: 1 + (scores.unsqueeze(-2) > scores.unsqueeze(-1)).sum(-1).float())(
    ...     torch.tensor([0.1, 0.7, 0.4])
    ... )
    tensor([3., 1., 2.])
    """

    function: Callable[..., Tensor]

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        if mask is None:
            ranks = self.function(scores)
        elif _takes_mask(self.function):
            ranks = self.function(scores, mask)
        else:
            raise TypeError(
                f"mask was given, but the ranker {self.function!r} takes scores only; "
                "let it take (scores, mask)"
            )
        if ranks.shape != scores.shape:
            raise ValueError(
                f"the ranker {self.function!r} must return ranks in the shape of the scores, "
                f"{tuple(scores.shape)}, got {tuple(ranks.shape)}"
            )
        return ranks


def _takes_mask(function: Callable[..., Tensor]) -> bool:
    # A module's own signature takes anything.
    called = function.forward if isinstance(function, nn.Module) else function
    parameters = inspect.signature(called).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def as_ranker(ranker: RankerLike) -> Ranker:
    """Return the ranker that is meant: by name, as it is, or around a callable.

    Args:
        ranker: a :class:`Ranker`; a shorthand, for that ranker with its default settings: "hard",
            "ramp", "logistic", "laplace", "normal", "cauchy", "sodeep", "projection",
            "projection_kl", "blackbox", "straight_through", "neuralsort", "softsort", "sinkhorn",
            "odd_even", "bitonic" or "set"; a :class:`rankgrad.sorters.Sorter`, which becomes a
            :class:`~rankgrad.rankers.LearnedRanker`; or any other callable from scores to ranks
            (see :class:`Custom`).

    Raises:
        ValueError: an unknown name.
        TypeError: neither a ranker, nor a name, nor callable.

    >>> as_ranker("hard")
    Hard(ties='ordinal')
    """
    if isinstance(ranker, Ranker):
        return ranker
    if isinstance(ranker, str):
        if ranker not in RANKERS:
            listed = ", ".join(repr(name) for name in RANKERS)
            raise ValueError(f"ranker must be one of {listed}, got {ranker!r}")
        return RANKERS[ranker]
    if isinstance(ranker, Sorter):
        return LearnedRanker(ranker)
    if isinstance(ranker, type):
        raise TypeError(f"ranker must be an object, not a class: write {ranker.__name__}()")
    if callable(ranker):
        return Custom(ranker)
    raise TypeError(f"ranker must be a Ranker, a name or a callable, got {type(ranker).__name__}")
