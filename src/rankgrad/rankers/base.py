"""What every ranker is: a frozen value that turns scores into ranks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_mask, check_rows, compute_dtype

__all__ = ["Ranker", "SortingRanker", "checked", "finished", "prepare"]


def prepare(
    scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*mask"] | None
) -> tuple[Float[Tensor, "*batch n"], Bool[Tensor, "*batch n"] | None]:
    """Check scores and mask; return the scores to compute with and the mask in their shape.

    Half precision becomes float32. Masked scores become zero, so that what they hold, NaN
    included, reaches nothing, and so that no gradient reaches them.
    """
    x, mask = checked(scores, mask)
    return x if mask is None else torch.where(mask, x, 0.0), mask


def checked(
    scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*mask"] | None
) -> tuple[Float[Tensor, "*batch n"], Bool[Tensor, "*batch n"] | None]:
    """As :func:`prepare`, but leave masked scores as they are."""
    check_rows("scores", scores)
    if mask is not None:
        check_mask("mask", mask, "scores", scores)
        mask = mask.broadcast_to(scores.shape)
    dtype = compute_dtype(scores)
    return scores if scores.dtype == dtype else scores.to(dtype), mask


def finished(
    values: Float[Tensor, "*batch n"],
    x: Float[Tensor, "*batch n"],
    mask: Bool[Tensor, "*batch n"] | None,
) -> Float[Tensor, "*batch n"]:
    """Make NaN of what belongs to the places of a row with a NaN; zeros fill up masked rows."""
    values = torch.where(x.isnan().any(dim=-1, keepdim=True), torch.nan, values)
    if mask is None:
        return values
    place = torch.arange(x.shape[-1], device=x.device)
    return torch.where(place < mask.sum(dim=-1, keepdim=True), values, 0.0)


@dataclass(frozen=True)
class Ranker(ABC):
    """An operator from scores to ranks on the last dimension; rank 1 is the largest score.

    A subclass is a frozen dataclass whose fields are its settings. It implements ``_ranks``.
    """

    # A fast ranker may see to NaN and masks itself: it then gets the scores as they are, and what
    # it returns is final.
    _minds_nan_and_mask: ClassVar[bool] = False

    def __call__(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*batch n"]:
        """Return the rank of every score along the last dimension.

        Args:
            scores: floating point, at least one dimension; the leading ones are batch.
            mask: boolean, broadcastable to ``scores``, True = valid. Masked scores are left out
                as if they were not there; they get rank 0 and no gradient.

        Returns:
            Ranks in the shape of ``scores``; float64 for float64 scores and float32 for all
            others (bfloat16 cannot tell the integers above 256 apart). A row with a NaN among
            its valid scores is NaN.

        Raises:
            TypeError: ``scores`` is not floating point or ``mask`` not boolean.
            ValueError: ``scores`` is a scalar, or the mask does not broadcast.
        """
        if self._minds_nan_and_mask:
            x, mask = checked(scores, mask)
            return self._ranks(x, mask) if x.shape[-1] else x.clone()
        x, mask = prepare(scores, mask)
        if x.shape[-1] == 0:
            return x.clone()
        ranks = self._ranks(x, mask)
        # Masked scores are zero by now: a NaN that is left is a valid one.
        ranks = torch.where(x.isnan().any(dim=-1, keepdim=True), torch.nan, ranks)
        return ranks if mask is None else torch.where(mask, ranks, 0.0)

    @abstractmethod
    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        """Return the ranks of float32 or float64 scores, at least one in a row.

        Scores at masked places are zero and must not count. What stands in a row with NaN, or at
        a masked place of the result, does not matter: the caller overwrites it.
        """


@dataclass(frozen=True)
class SortingRanker(Ranker):
    """A ranker that gives softly sorted values too. A subclass implements ``_sorted`` as well."""

    def sort(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
        *,
        descending: bool = True,
    ) -> Float[Tensor, "*batch n"]:
        """Return the softly sorted scores of the last dimension, in their dtype.

        Args:
            scores: floating point, at least one dimension; the leading ones are batch.
            mask: boolean, broadcastable to ``scores``, True = valid. The valid scores of a row
                come first, sorted as if the others were not there; zeros fill it up.
            descending: largest first. Ascending is the negative of sorting ``-scores``.

        Raises:
            TypeError: ``scores`` is not floating point or ``mask`` not boolean.
            ValueError: ``scores`` is a scalar, or the mask does not broadcast.
        """
        final = self._minds_nan_and_mask
        x, mask = (checked if final else prepare)(scores, mask)
        if x.shape[-1] == 0:
            return scores.clone()
        values = self._sorted(x, mask) if descending else -self._sorted(-x, mask)
        if not final:
            values = finished(values, x, mask)
        return values.to(scores.dtype)

    @abstractmethod
    def _sorted(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        """Return the valid scores, largest first; the same terms as for ``_ranks``.

        A ranker that sees to NaN and masks itself fills up with zeros.
        """
