"""Hard ranks, with the usual conventions for ties, and masks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import check_choice, check_mask, check_rows, compute_dtype
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["TIES", "hard_rank", "rank"]

TIES = ("ordinal", "average", "min", "max", "dense")


@operator("hard_rank")
def hard_rank(
    x: Tensor, mask: Tensor | None, descending: bool, ties: str, normalize: bool
) -> Tensor:
    """Return hard ranks along the last dimension, of float32 or float64."""
    if x.numel() == 0:
        return torch.empty_like(x)
    serve = kernels.implementation("hard_rank", x.device)
    ranks: Tensor = serve(rows(x), rows(mask), descending, ties, normalize)
    return shaped(ranks, x.shape)


@hard_rank.register_fake
def _(x: Tensor, mask: Tensor | None, descending: bool, ties: str, normalize: bool) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


hard_rank.register_vmap(batched(hard_rank))


def rank(
    scores: Float[Tensor, "*batch"],
    dim: int = -1,
    *,
    descending: bool = True,
    ties: str = "ordinal",
    normalize: bool = False,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return the rank of every score along ``dim``; rank 1 is the largest.

    ``rank(i) = 1 + #{j : s_j > s_i}`` plus, for equal scores, what ``ties`` says. One sort:
    ``O(n log n)``. Ranks are constants: no gradient flows; a soft ranker has one.

    Args:
        scores: floating point tensor, any shape with at least one dimension.
        dim: the dimension that holds one ranking.
        descending: True gives rank 1 to the largest score, False to the smallest.
        ties: "ordinal" (equal scores in order of appearance), "average" (the mean of the places
            they take, as ``scipy.stats.rankdata``), "min", "max", or "dense" (no gaps).
        normalize: divide by the number of ranked scores (for "dense", of distinct ones), so that
            ranks lie in (0, 1].
        mask: boolean, broadcastable to ``scores``, True = valid. Masked scores are left out of
            the ranking and get rank 0.

    Returns:
        Ranks in the shape of ``scores``; float64 for float64 scores and float32 for all others
        (bfloat16 cannot hold integers above 256). A row with a NaN among its valid scores is NaN.

    Raises:
        TypeError: ``scores`` is not floating point or ``mask`` not boolean.
        ValueError: an unknown ``ties``, or a mask that does not broadcast.

    >>> rank(torch.tensor([0.3, 0.9, 0.3]), ties="average")
    tensor([2.5000, 1.0000, 2.5000])
    """
    check_rows("scores", scores)
    check_choice("ties", ties, TIES)
    if mask is not None:
        check_mask("mask", mask, "scores", scores)
        mask = mask.broadcast_to(scores.shape)
    x, dtype = scores.detach(), compute_dtype(scores)
    # Even a view or a cast that changes nothing takes a microsecond.
    x = x if x.dtype == dtype else x.to(dtype)
    last = dim in (-1, x.dim() - 1)
    if not last:
        x, mask = x.movedim(dim, -1), None if mask is None else mask.movedim(dim, -1)
    ranks: Tensor = hard_rank(x, mask, descending, ties, normalize)
    return ranks if last else ranks.movedim(-1, dim)
