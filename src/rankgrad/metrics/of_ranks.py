"""Criteria as functions of ranks. With hard ranks they are the metrics, with soft ones the losses.

All work on the last dimension and give one value a row. Where a row has nothing to find, they are
zero; the callers leave such rows out of their means.
"""

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import anywhere, check_choice, check_count

__all__ = [
    "GAINS",
    "RECALLS",
    "average_precision_of_ranks",
    "check_cut_off",
    "check_gain",
    "discount",
    "gain_of",
    "is_relevant",
    "ndcg_of_discounts",
    "not_negative",
    "recall_of_hits",
    "reciprocal_rank_of_ranks",
]

GAINS = ("linear", "exponential")
RECALLS = ("all", "capped", "any")


def average_precision_of_ranks(
    ranks: Float[Tensor, "*batch n"],
    ranks_among_relevant: Float[Tensor, "*batch n"],
    relevant: Bool[Tensor, "*batch n"],
) -> Float[Tensor, "*batch"]:
    """Return the mean over relevant items of (rank among the relevant) / (rank among all).

    >>> yes = torch.tensor([True, False, True])
    >>> average_precision_of_ranks(
    ...     torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 2.0]), yes
    ... )
    tensor(0.8333)
    """
    # The ranks of other items may be 0 (masked out): a division by them must not reach backward.
    all_ranks = torch.where(relevant, ranks, 1.0)
    precision = torch.where(relevant, ranks_among_relevant / all_ranks, 0.0)
    return precision.sum(dim=-1) / relevant.sum(dim=-1).clamp(min=1)


def reciprocal_rank_of_ranks(
    ranks: Float[Tensor, "*batch n"], relevant: Bool[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """Return 1 / (rank of the relevant item that comes first).

    >>> reciprocal_rank_of_ranks(torch.tensor([1.0, 2.0]), torch.tensor([False, True]))
    tensor(0.5000)
    """
    inverse = torch.where(relevant, 1 / torch.where(relevant, ranks, 1.0), 0.0)
    # With a zero beside it, a row without items has a maximum, too.
    return torch.nn.functional.pad(inverse, (0, 1)).amax(dim=-1)


def discount(ranks: Float[Tensor, "*shape"], k: int | None = None) -> Float[Tensor, "*shape"]:
    """Return ``1 / log2(1 + rank)``, zero for ranks behind ``k`` and for masked items, of rank 0.

    >>> discount(torch.tensor([1.0, 3.0, 7.0]), k=3)
    tensor([1.0000, 0.5000, 0.0000])
    """
    counts = ranks >= 0.5
    if k is not None:
        counts = counts & (ranks < k + 0.5)
    value = 1 / torch.log2(1 + torch.where(counts, ranks, 1.0))
    value = torch.where(counts, value, 0.0)
    return torch.where(ranks.isnan(), ranks, value)


def check_cut_off(k: int | None, *, none_allowed: bool = True) -> None:
    """Raise unless the cut-off ``k`` is an integer above zero, or None where that is allowed."""
    if k is not None or not none_allowed:
        check_count("k", k)


def check_gain(kind: str) -> None:
    """Raise ``ValueError`` unless ``kind`` is "linear" or "exponential"."""
    check_choice("gain", kind, GAINS)


def not_negative(relevance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the relevance; raise ``ValueError`` if some of it is negative.

    Where one cannot look at values without waiting or breaking a graph (on other devices than the
    CPU, in compiled code, under vmap), negative values become NaN instead.
    """
    negative = relevance < 0
    if anywhere(negative):
        raise ValueError(
            "relevance must not be negative; where it marks padding, give a mask instead"
        )
    return torch.where(negative, torch.nan, relevance)


def gain_of(relevance: Float[Tensor, "*shape"], kind: str) -> Float[Tensor, "*shape"]:
    """Return the relevance itself ("linear") or ``2 ** relevance - 1`` ("exponential").

    Negative relevance is refused: see :func:`not_negative`.
    """
    check_gain(kind)
    relevance = not_negative(relevance)
    return relevance if kind == "linear" else torch.expm1(relevance * math.log(2))


def ndcg_of_discounts(
    discounts: Float[Tensor, "*batch n"],
    gains: Float[Tensor, "*batch n"],
    ideal: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return ``sum(gains * discounts) / ideal``, zero where the ideal is zero."""
    total = (gains * discounts).sum(dim=-1)
    return torch.where(ideal > 0, total / torch.where(ideal > 0, ideal, 1.0), 0.0 * total)


def is_relevant(relevance: Shaped[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return where the relevance is above zero."""
    # Comparing booleans with a number would make int64 of them, eight times their memory.
    return relevance if relevance.dtype == torch.bool else relevance > 0


def recall_of_hits(
    hits: Float[Tensor, "*batch n"], relevant: Bool[Tensor, "*batch n"], k: int, kind: str
) -> Float[Tensor, "*batch"]:
    """Return the share of relevant items among the first ``k``.

    Args:
        hits: to what degree each item is among the first ``k``: 0 or 1, or softly between.
        relevant: which items are relevant.
        k: the cut-off.
        kind: "all" divides by the number of relevant items, "capped" by that number or ``k``,
            whichever is smaller, so that 1 can be reached.
    """
    check_choice("kind", kind, RECALLS[:2])
    count = relevant.sum(dim=-1).clamp(min=1)
    if kind == "capped":
        count = count.clamp(max=k)
    return torch.where(relevant, hits, 0.0).sum(dim=-1) / count
