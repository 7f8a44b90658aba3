"""Scores beside graded relevance, list by list, with a mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rankgrad.checks import check_beside, compute_dtype
from rankgrad.losses._rows import real

__all__ = ["Lists", "lists"]


@dataclass(frozen=True)
class Lists:
    """What :func:`lists` makes of scores, relevance and mask; a list lies on the last dimension.

    Attributes:
        scores: in the dtype to compute in, zero where masked.
        relevance: floating, exact, zero where masked.
        valid: boolean, in their shape.
        mask: the same, or None where nothing is masked.
    """

    scores: Tensor
    relevance: Tensor
    valid: Tensor
    mask: Tensor | None

    @property
    def grades(self) -> Tensor:
        """The relevance in the dtype of the scores, to compute with."""
        return self.relevance.to(self.scores.dtype)

    def ordered(self) -> Tensor:
        """Return which lists hold two valid items of different relevance, ``[*batch]``.

        A NaN counts as different.
        """
        if self.scores.shape[-1] == 0:
            return self.valid.any(dim=-1)
        high = torch.where(self.valid, self.relevance, -torch.inf).amax(dim=-1)
        low = torch.where(self.valid, self.relevance, torch.inf).amin(dim=-1)
        return ~(high <= low)


def lists(scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Lists:
    """Check scores, relevance and mask, and bring them to the dtype to compute in."""
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    x = scores.to(compute_dtype(scores))
    y = real(relevance.detach())
    if mask is None:
        return Lists(x, y, torch.ones_like(x, dtype=torch.bool), None)
    return Lists(torch.where(mask, x, 0.0), torch.where(mask, y, 0.0), mask, mask)
