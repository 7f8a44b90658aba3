"""Rankers that relax the permutation matrix of sorting."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_floating, check_same_device, check_same_shape, compute_dtype
from rankgrad.rankers.base import SortingRanker, checked, finished, prepare

__all__ = ["PermutationRanker"]


@dataclass(frozen=True)
class PermutationRanker(SortingRanker):
    """A ranker by a relaxed permutation matrix ``P``: rows are places, columns are items.

    Place 1 holds the largest score. ``P`` is nonnegative and its rows sum to 1. Ranks are mean
    places, sorted scores are ``P s``; neither builds the matrix.
    """

    def permutation(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Return the matrix ``P``: ``P[..., i, j]`` is the share of item ``j`` at place ``i``.

        Args:
            scores: floating point, at least one dimension; the leading ones are batch.
            mask: boolean, broadcastable to ``scores``, True = valid. Columns of masked items are
                zero, and so are the last rows, as many as there are masked items.

        Returns:
            float64 for float64 scores, else float32. NaN for a row with a NaN among its valid
            scores.

        Raises:
            TypeError: ``scores`` is not floating point or ``mask`` not boolean.
            ValueError: ``scores`` is a scalar, or the mask does not broadcast.
        """
        x, mask = (checked if self._minds_nan_and_mask else prepare)(scores, mask)
        if x.shape[-1] == 0:
            return x.new_zeros((*x.shape, 0)) + x.sum()
        return self._matrix(x, mask)

    def reorder(
        self,
        scores: Float[Tensor, "*batch n"],
        values: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*batch n"]:
        """Return ``P(scores) values``: ``values`` in the soft order of ``scores``.

        Gradients flow to both. With the gains of the items as ``values`` it gives the soft gain
        at each place, which NDCG discounts.

        Args:
            scores: floating point, at least one dimension; the leading ones are batch.
            values: floating point, in the shape of ``scores``; finite.
            mask: as for :meth:`sort`: what belongs to masked scores is left out, zeros fill up.

        Returns:
            In the shape of ``scores``; float64 if an argument is, else float32.
        """
        check_floating("values", values)
        final = self._minds_nan_and_mask
        x, mask = (checked if final else prepare)(scores, mask)
        check_same_shape("values", values, "scores", scores)
        check_same_device("values", values, "scores", scores)
        dtype = compute_dtype(scores, values)
        x, values = x.to(dtype), values.to(dtype)
        if x.shape[-1] == 0:
            return x + values
        if final:
            return self._reordered(x, mask, values)
        if mask is not None:
            values = torch.where(mask, values, 0.0)
        return finished(self._reordered(x, mask, values), x, mask)

    @abstractmethod
    def _matrix(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n n"]:
        """Return the matrix; the same terms as for ``_ranks``, but NaN for a row with NaN."""

    @abstractmethod
    def _reordered(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*batch n"] | None,
        values: Float[Tensor, "*batch n"],
    ) -> Float[Tensor, "*batch n"]:
        """Return the matrix times ``values``; the same terms as for ``_ranks``."""
