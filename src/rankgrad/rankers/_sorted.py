"""Scores in descending order, with masks and infinities out of the way of the formulas."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rankgrad.sorting import argsort, valid_first

__all__ = ["SortedScores", "absolute_gaps", "sorted_scores"]


@dataclass(frozen=True)
class SortedScores:
    """What :func:`sorted_scores` returns; every tensor but ``count`` is ``[*batch, n]``.

    ``x`` holds the scores in float64, valid ones first, largest first, their mean subtracted, and
    falls from end to end; ``hard`` is the same as it came. ``weight`` is 1 where valid, 0 behind,
    ``place`` is 1, ..., n and ``count`` [*batch, 1] the number of valid scores.
    """

    x: Float[Tensor, "*batch n"]
    hard: Float[Tensor, "*batch n"]
    centre: Float[Tensor, "*batch 1"]
    order: Int64[Tensor, "*batch n"]
    weight: Float[Tensor, "*batch n"]
    place: Float[Tensor, "*batch n"]
    count: Float[Tensor, "*batch 1"]

    @property
    def valid(self) -> Bool[Tensor, "*batch n"]:
        return self.weight > 0

    def back(self, values: Tensor) -> Tensor:
        """Put what belongs to the sorted scores where the scores came from."""
        return torch.zeros_like(values).scatter(-1, self.order, values)


def sorted_scores(
    scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None, far: float
) -> SortedScores:
    """Sort the valid scores; infinite ones are put ``far`` away from the finite ones.

    ``far`` is a distance at which two scores no longer see each other.
    """
    order = argsort(scores)
    place = torch.arange(1, scores.shape[-1] + 1, dtype=torch.float64, device=scores.device)
    place = place.expand(scores.shape)
    if mask is None:
        weight = torch.ones_like(place)
    else:
        order = order.gather(-1, valid_first(mask.gather(-1, order)))
        weight = mask.gather(-1, order).double()
    hard = scores.gather(-1, order)
    x = hard.double()
    plain = x.detach()
    finite = plain.isfinite() & (weight > 0)
    centre = torch.where(finite, plain, 0.0).sum(-1, keepdim=True)
    centre = centre / finite.sum(-1, keepdim=True).clamp(min=1)
    plain = plain - centre
    some = finite.any(-1, keepdim=True)
    high = torch.where(finite, plain, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(finite, plain, torch.inf).amin(-1, keepdim=True)
    high, low = torch.where(some, high, 0.0), torch.where(some, low, 0.0)
    stand_in = torch.where(plain < 0, low - far, high + far)  # a NaN sorts like +inf
    x = torch.where(finite, x - centre, torch.where(weight > 0, stand_in, low - 2 * far))
    return SortedScores(x, hard, centre, order, weight, place, weight.sum(-1, keepdim=True))


def absolute_gaps(s: SortedScores) -> Float[Tensor, "*batch n"]:
    """Return ``sum_k |x_i - x_k|`` over the valid scores, from running sums.

    Equal scores are passed over as a whole, so that the derivative of ``|0|`` is 0 everywhere.
    """
    x, n = s.x, s.x.shape[-1]
    index = torch.arange(n, device=x.device).expand(x.shape)
    apart = torch.nn.functional.pad((x[..., 1:] != x[..., :-1]).detach(), (1, 0), value=True)
    start = torch.where(apart, index, 0).cummax(-1).values
    close = torch.where(apart, n - index, 0)  # at the start of a run: what is left with it
    close = torch.nn.functional.pad(close[..., 1:], (0, 1))
    stop = n - close.flip(-1).cummax(-1).values.flip(-1)
    running = torch.nn.functional.pad((s.weight * x).cumsum(-1), (1, 0))
    above, through = running.gather(-1, start), running.gather(-1, stop)
    below = running[..., -1:] - through
    return x * (s.count - stop - start) + above - below
