"""The ranks and gradients of each ranker over its temperature, strength or steepness."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rankgrad.comparisons import Cauchy, Laplace, Logistic, Normal, Ramp
from rankgrad.rankers import (
    Blackbox,
    NeuralSort,
    Pairwise,
    Projection,
    Ranker,
    Sinkhorn,
    SoftSort,
    SortingNetwork,
    StraightThrough,
    as_ranker,
)
from rankgrad.ranks import rank

__all__ = ["LEARNED", "SWEEPS", "Curve", "Ranked", "Sweep", "largest_error", "ranked", "sweep"]


@dataclass(frozen=True)
class Sweep:
    """A ranker as a function of its softness.

    ``shorthand`` is its name after ``ranker=``, ``setting`` what is varied, ``default`` the value
    that the shorthand stands for. Where ``inverse``, the softness is one over the setting. The
    sweep runs from ``lowest`` times the smallest gap between scores to ``highest`` times their
    range: there the ranker is all but hard, and all but flat.
    """

    shorthand: str
    setting: str
    default: float
    make: Callable[[float], Ranker]
    lowest: float = 0.3
    highest: float = 10.0
    inverse: bool = False
    # It brings the scores to a scale of its own.
    own_scale: bool = False

    @property
    def label(self) -> str:
        """What stands at the axis."""
        return f"1 / {self.setting}" if self.inverse else self.setting

    @property
    def default_softness(self) -> float:
        """Where the shorthand is on the axis."""
        return self.value(self.default)

    def value(self, softness: float) -> float:
        """Return the setting of this softness, or the softness of this setting."""
        return 1 / softness if self.inverse else softness


def _sodeep(temperature: float) -> Ranker:
    return Pairwise(Logistic(temperature), steepness="auto")


def _straight_through(strength: float) -> Ranker:
    return StraightThrough(soft=Projection("l2", strength))


def _odd_even(steepness: float) -> Ranker:
    return SortingNetwork("odd_even", steepness=steepness)


def _bitonic(steepness: float) -> Ranker:
    return SortingNetwork("bitonic", steepness=steepness)


SWEEPS = {
    each.shorthand: each
    for each in (
        Sweep("ramp", "half_width", 0.5, lambda t: Pairwise(Ramp(t))),
        Sweep("logistic", "temperature", 1.0, lambda t: Pairwise(Logistic(t)), 0.08, 3.0),
        Sweep("laplace", "temperature", 1.0, lambda t: Pairwise(Laplace(t)), 0.08, 3.0),
        Sweep("normal", "temperature", 1.0, lambda t: Pairwise(Normal(t)), 0.15, 3.0),
        Sweep("cauchy", "temperature", 1.0, lambda t: Pairwise(Cauchy(t)), 0.01, 3.0),
        Sweep("sodeep", "temperature", 1.0, _sodeep, 0.5, 30.0, own_scale=True),
        Sweep("projection", "strength", 1.0, lambda t: Projection("l2", t)),
        Sweep("projection_kl", "strength", 1.0, lambda t: Projection("kl", t)),
        Sweep("blackbox", "strength", 1.0, Blackbox),
        Sweep("straight_through", "strength", 1.0, _straight_through),
        Sweep("neuralsort", "temperature", 1.0, NeuralSort, 0.1),
        Sweep("softsort", "temperature", 1.0, SoftSort, 0.08, 3.0),
        Sweep("sinkhorn", "temperature", 0.1, Sinkhorn, 0.01, 1.0),
        Sweep("odd_even", "steepness", 10.0, _odd_even, 0.01, 3.0, inverse=True),
        Sweep("bitonic", "steepness", 10.0, _bitonic, 0.01, 3.0, inverse=True),
    )
}


# Rankers without a softness: networks that were trained once and for all.
LEARNED = ("set",)


@dataclass(frozen=True)
class Ranked:
    """Ranks of the scores and their gradients, ``[..., scores]``.

    ``pull`` is minus the gradient of a score's rank for that score: the places that it gains by
    one unit more.
    """

    ranks: np.ndarray
    pull: np.ndarray


@dataclass(frozen=True)
class Curve:
    """What :func:`sweep` measures: a row for each softness, and the same for the default."""

    sweep: Sweep
    scores: Sequence[float]
    softness: np.ndarray
    swept: Ranked
    default: Ranked

    def faithful(self, places: float = 0.5) -> float:
        """Return the largest softness up to which no rank is off by more; NaN if there is none."""
        off = largest_error(self.scores, self.swept.ranks) > places + 1e-9
        first = int(off.argmax()) if off.any() else len(off)
        return float(self.softness[first - 1]) if first else math.nan


def sweep(scores: Sequence[float], name: str, points: int = 49) -> Curve:
    """Return ranks and gradients of the ranker ``name`` of :data:`SWEEPS`, from hard to soft."""
    each = SWEEPS[name]
    x = torch.tensor(scores, dtype=torch.float64)
    gap, width = _spread(x)
    unit = width if each.own_scale else 1.0
    softness = np.geomspace(each.lowest * gap / unit, each.highest * width / unit, points)
    all_ranked = [_ranked(x, each.make(each.value(float(t)))) for t in softness]
    return Curve(
        each,
        scores,
        softness,
        Ranked(np.stack([r.ranks for r in all_ranked]), np.stack([r.pull for r in all_ranked])),
        _ranked(x, each.make(each.default)),
    )


def ranked(scores: Sequence[float], name: str) -> Ranked:
    """Return ranks and gradients of the ranker that a shorthand stands for."""
    return _ranked(torch.tensor(scores, dtype=torch.float64), as_ranker(name))


def largest_error(scores: Sequence[float], ranks: np.ndarray) -> np.ndarray:
    """Return how far the worst of the ranks ``[..., n]`` is from a hard one.

    A score may hold the rank of any score that it ties with.
    """
    x = torch.tensor(scores, dtype=torch.float64)
    lowest, highest = rank(x, ties="min").numpy(), rank(x, ties="max").numpy()
    apart = np.maximum(lowest - ranks, ranks - highest).clip(min=0)
    return np.asarray(apart.max(axis=-1))


def _spread(x: torch.Tensor) -> tuple[float, float]:
    """Return the smallest gap above zero between neighbours, as far as a plot shows, and the range.

    Both are 1 for scores that are all equal.
    """
    width = float(x.max() - x.min())
    if width == 0:
        return 1.0, 1.0
    gaps = x.sort().values.diff()
    return max(float(gaps[gaps > 0].min()), 1e-3 * width), width


def _ranked(x: torch.Tensor, ranker: Ranker) -> Ranked:
    # A row for each rank whose gradient is wanted.
    rows = x.expand(len(x), -1).clone().requires_grad_()
    ranks = ranker(rows)
    (gradient,) = torch.autograd.grad(ranks, rows, torch.eye(len(x), dtype=x.dtype))
    return Ranked(ranks[0].detach().numpy(), -gradient.diagonal().numpy())
