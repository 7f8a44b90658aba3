"""Soft ranks, soft sorting and soft quantiles as functions over the rankers."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import (
    check_finite_number,
    check_floating,
    check_mask,
    check_rows,
    check_same_device,
)
from rankgrad.rankers.base import SortingRanker
from rankgrad.rankers.resolve import RankerLike, as_ranker

__all__ = ["soft_quantile", "soft_rank", "soft_sort"]


def _last(scores: Tensor, dim: int, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return scores and mask with ``dim`` as the last dimension."""
    check_rows("scores", scores)
    if mask is not None:
        check_mask("mask", mask, "scores", scores)
        mask = mask.broadcast_to(scores.shape).movedim(dim, -1)
    return scores.movedim(dim, -1), mask


def soft_rank(
    scores: Float[Tensor, "*batch"],
    ranker: RankerLike = "projection",
    dim: int = -1,
    *,
    descending: bool = True,
    normalize: bool = False,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return ranks with a gradient along ``dim``; rank 1 is the largest.

    The soft sibling of :func:`rankgrad.rank`.

    Args:
        scores: floating point tensor with at least one dimension.
        ranker: the operator; a :class:`~rankgrad.rankers.Ranker`, the name of one, or a callable.
        dim: the dimension that holds one ranking.
        descending: True gives rank 1 to the largest score, False to the smallest.
        normalize: divide by the number of ranked scores, so that ranks lie in (0, 1].
        mask: boolean, broadcastable to ``scores``, True = valid. Masked scores are left out of
            the ranking and get rank 0.

    Returns:
        Ranks in the shape of ``scores``; float64 for float64 scores and float32 for all others. A
        row with a NaN among its valid scores is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean, ``ranker`` no ranker.
        ValueError: an unknown ranker, or a mask that does not broadcast.

    Cost: that of the ranker.

    >>> soft_rank(torch.tensor([0.1, 0.7, 0.4]))
    tensor([2.3000, 1.7000, 2.0000])
    >>> soft_rank(torch.tensor([0.1, 0.7, 0.4]), "laplace", descending=False)
    tensor([1.6448, 2.3552, 2.0000])
    """
    x, mask = _last(scores, dim, mask)
    ranks = as_ranker(ranker)(x if descending else -x, mask)
    if normalize:
        count = x.shape[-1] if mask is None else mask.sum(dim=-1, keepdim=True).clamp(min=1)
        ranks = ranks / count
    return ranks.movedim(-1, dim)


def soft_sort(
    scores: Float[Tensor, "*batch"],
    ranker: RankerLike = "projection",
    dim: int = -1,
    *,
    descending: bool = True,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return the softly sorted scores along ``dim``.

    Args:
        scores: floating point tensor with at least one dimension.
        ranker: an operator that also sorts, such as
            :class:`~rankgrad.rankers.Projection`, or the name of one.
        dim: the dimension to sort along.
        descending: largest first, as :func:`rankgrad.sort`. False gives the negative of sorting
            ``-scores``.
        mask: boolean, broadcastable to ``scores``, True = valid. The valid scores come first,
            sorted as if the others were not there; zeros fill up.

    Returns:
        Values in the shape and dtype of ``scores``. A row with a NaN among its valid scores is
        NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean, or ``ranker`` does not
            sort.
        ValueError: an unknown ranker, or a mask that does not broadcast.

    Cost: that of the ranker.

    >>> from rankgrad.rankers import Projection
    >>> soft_sort(torch.tensor([0.1, 0.7, 0.4]), Projection(strength=5.0))
    tensor([0.6000, 0.4000, 0.2000])
    """
    x, mask = _last(scores, dim, mask)
    return _sorting(ranker).sort(x, mask, descending=descending).movedim(-1, dim)


def _sorting(ranker: RankerLike) -> SortingRanker:
    found = as_ranker(ranker)
    if not isinstance(found, SortingRanker):
        raise TypeError(
            f"ranker must be one that sorts, such as Projection, SoftSort or SortingNetwork, "
            f"got {found!r}"
        )
    return found


def soft_quantile(
    scores: Float[Tensor, "*batch"],
    q: float | int | Float[Tensor, "*quantiles"],
    ranker: RankerLike = "projection",
    dim: int = -1,
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, "*out"]:
    """Return quantiles along ``dim`` whose gradient reaches more than the nearest scores.

    The softly sorted scores, smallest first, are interpolated linearly at place ``q (n - 1)``,
    where ``n`` counts the valid scores, as :func:`torch.quantile` does with sorted ones. A
    ranker close to hard gives its value; a softer one spreads the gradient and smooths the
    estimate.

    Args:
        scores: floating point tensor with at least one dimension.
        q: one quantile, or a tensor of any shape of them, clamped to [0, 1]; a tensor may want a
            gradient.
        ranker: an operator that also sorts, or the name of one; see :func:`soft_sort`.
        dim: the dimension to reduce.
        mask: boolean, broadcastable to ``scores``, True = valid.

    Returns:
        ``[*q.shape, *scores.shape without dim]`` in the dtype of ``scores``; NaN for rows
        without a valid score or with a NaN among them.

    Raises:
        TypeError: ``scores`` or ``q`` is not floating point, ``mask`` not boolean, or ``ranker``
            does not sort.
        ValueError: a number ``q`` outside [0, 1], an unknown ranker, or a mask that does not
            broadcast.

    Cost: that of the ranker.

    >>> from rankgrad.rankers import Projection
    >>> soft_quantile(torch.tensor([4.0, 1.0, 2.0, 8.0]), 0.5, Projection(strength=0.1))
    tensor(3.)
    >>> soft_quantile(torch.tensor([4.0, 1.0, 2.0, 8.0]), 0.5, Projection(strength=1.0))
    tensor(3.7500)
    """
    x, mask = _last(scores, dim, mask)
    if not isinstance(q, Tensor):
        if not 0 <= check_finite_number("q", q) <= 1:
            raise ValueError(f"q must be in [0, 1], got {q}")
        q = torch.full((), q, dtype=torch.float64, device=x.device)
    check_floating("q", q)
    check_same_device("q", q, "scores", x)
    n = x.shape[-1]
    batch = x.shape[:-1]
    if n == 0:
        return x.new_full((*q.shape, *batch), torch.nan)
    values = _sorting(ranker).sort(x, mask, descending=False)
    count = torch.full(batch, n, device=x.device) if mask is None else mask.sum(dim=-1)
    place = q.reshape(-1, *(1,) * len(batch)).clamp(0, 1) * (count - 1).clamp(min=0)
    low = place.detach().floor().long()
    high = torch.minimum(low + 1, (count - 1).clamp(min=0))
    rows = values.expand(place.shape[0], *values.shape)
    below, above = (rows.gather(-1, at.unsqueeze(-1)).squeeze(-1) for at in (low, high))
    found = torch.lerp(below, above, (place - low).to(below.dtype))
    found = torch.where(count > 0, found, torch.nan)
    return found.to(scores.dtype).reshape((*q.shape, *batch))
