"""What a ranked list is worth to a searcher: average precision, recall and precision at k, MRR."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import check_beside, check_choice, compute_dtype
from rankgrad.metrics._rows import reduce_rows, wide
from rankgrad.metrics.of_ranks import (
    RECALLS,
    average_precision_of_ranks,
    check_cut_off,
    is_relevant,
    recall_of_hits,
    reciprocal_rank_of_ranks,
)
from rankgrad.ranks import rank

__all__ = [
    "average_precision",
    "mean_average_precision",
    "mrr",
    "precision_at_k",
    "recall_at_k",
]


def average_precision(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return the average precision: the mean, over relevant items, of the precision at their place.

    ``AP = mean over relevant i of (rank of i among the relevant) / (rank of i among all)``. Equal
    scores are one place, the last of those they take: a tie never helps.

    Args:
        scores: predictions; every row of the last dimension is one ranked list.
        relevance: in the shape of ``scores``, boolean or number; above zero = relevant.
        mask: boolean, broadcastable to ``scores``, True = valid.
        reduction: "none" gives the value of each row; "mean" and "sum" are over the rows.

    Returns:
        float64 for float64 scores, else float32. A row without a relevant item is zero, and left
        out of the mean. A row with a NaN score is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean.
        ValueError: shapes or devices that do not fit, an unknown ``reduction``.

    Cost: two sorts, ``O(n log n)``. Equal to ``sklearn.metrics.average_precision_score``.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 1]))
    tensor(0.8333)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    relevant = _relevant(relevance, mask)
    ranks = wide(rank(scores, ties="max", mask=mask))
    among = wide(rank(scores, ties="max", mask=relevant))
    # A NaN among the other scores must show, too.
    value = average_precision_of_ranks(ranks, among, relevant) + _nan_where_broken(ranks)
    return reduce_rows(value, relevant.any(dim=-1), reduction, compute_dtype(scores), 0.0)


def mean_average_precision(
    scores: Float[Tensor, "*batch"],
    relevance: Shaped[Tensor, "*batch"],
    dim: int = -1,
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean of the average precisions of all rankings along ``dim``.

    Rankings without a relevant item are left out. With scores of queries by items that is mAP as
    in retrieval; with samples by classes and ``dim=0`` it is mAP as in multi-label
    classification, ``sklearn.metrics.average_precision_score(average="macro")`` over the classes
    that occur. Arguments, result and errors otherwise as in :func:`average_precision`.

    >>> scores = torch.tensor([[0.9, 0.2], [0.8, 0.6], [0.7, 0.4]])
    >>> mean_average_precision(scores, torch.tensor([[1, 0], [0, 0], [1, 1]]), dim=0)
    tensor(0.6667)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    mask = None if mask is None else mask.movedim(dim, -1)
    return average_precision(scores.movedim(dim, -1), relevance.movedim(dim, -1), mask=mask)


def recall_at_k(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    k: int,
    *,
    kind: str = "all",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return the share of the relevant items that are among the first ``k``.

    Where equal scores straddle the cut-off, the value is the expectation over their orders.

    Args:
        scores: predictions; every row of the last dimension is one ranked list.
        relevance: in the shape of ``scores``, boolean or number; above zero = relevant.
        k: how many items count, at least 1.
        kind: "all" divides by the number of relevant items; "capped" by that number or ``k``,
            whichever is smaller, so that 1 can be reached; "any" is 1 if one relevant item is
            among the first ``k``, else 0 (recall at k as metric learning has it, or hit rate).
        mask: boolean, broadcastable to ``scores``, True = valid.
        reduction: "none" gives the value of each row; "mean" and "sum" are over the rows.

    Result and errors as in :func:`average_precision`. Cost: two sorts.

    >>> scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    >>> recall_at_k(scores, torch.tensor([1, 0, 0, 1]), k=2)
    tensor(0.5000)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    check_cut_off(k, none_allowed=False)
    check_choice("kind", kind, RECALLS)
    relevant = _relevant(relevance, mask)
    hits, size, slots = _first_k(scores, k, mask)
    if kind == "any":
        value = _any_hit(hits, size, slots, relevant) + _nan_where_broken(hits)
    else:
        value = recall_of_hits(hits, relevant, k, kind) + _nan_where_broken(hits)
    return reduce_rows(value, relevant.any(dim=-1), reduction, compute_dtype(scores), 0.0)


def precision_at_k(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    k: int,
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return the share of the first ``k`` places that hold a relevant item.

    Lists shorter than ``k`` are divided by ``k`` all the same. Where equal scores straddle the
    cut-off, the value is the expectation over their orders. Arguments, result and errors as in
    :func:`recall_at_k`.

    >>> scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    >>> precision_at_k(scores, torch.tensor([1, 0, 1, 1]), k=3)
    tensor(0.6667)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    check_cut_off(k, none_allowed=False)
    relevant = _relevant(relevance, mask)
    hits, _, _ = _first_k(scores, k, mask)
    value = torch.where(relevant, hits, 0.0).sum(dim=-1) / k + _nan_where_broken(hits)
    return reduce_rows(value, relevant.any(dim=-1), reduction, compute_dtype(scores), 0.0)


def mrr(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return the mean reciprocal rank: 1 / (rank of the first relevant item), mean over the rows.

    Equal scores are one place, the last of those they take. Arguments, result and errors as in
    :func:`average_precision`. With one relevant item in each list equal to
    ``sklearn.metrics.label_ranking_average_precision_score``.

    >>> mrr(torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.3, 0.2]]), torch.tensor([[0, 1, 1], [0, 1, 0]]))
    tensor(0.7500)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    relevant = _relevant(relevance, mask)
    ranks = wide(rank(scores, ties="max", mask=mask))
    value = reciprocal_rank_of_ranks(ranks, relevant) + _nan_where_broken(ranks)
    return reduce_rows(value, relevant.any(dim=-1), reduction, compute_dtype(scores), 0.0)


def _relevant(relevance: Tensor, mask: Tensor | None) -> Tensor:
    relevant = is_relevant(relevance)
    return relevant if mask is None else relevant & mask


def _nan_where_broken(ranks: Tensor) -> Tensor:
    """Return zero by row, or NaN where the row holds one."""
    return torch.where(ranks.isnan().any(dim=-1), torch.nan, 0.0)


def _first_k(scores: Tensor, k: int, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return how likely each item is among the first ``k``, if equal scores come in any order.

    Also how many items share its score, and how many places before ``k`` are left for them.
    """
    lowest = wide(rank(scores, ties="min", mask=mask))
    size = wide(rank(scores, ties="max", mask=mask)) - lowest + 1
    slots = torch.minimum((k + 1 - lowest).clamp(min=0), size)
    hits = slots / size
    return (hits if mask is None else torch.where(mask, hits, 0.0)), size, slots


def _any_hit(hits: Tensor, size: Tensor, slots: Tensor, relevant: Tensor) -> Tensor:
    """Return how likely any relevant item is among the first k."""
    surely = (relevant & (hits >= 1)).any(dim=-1)
    # Of m items that straddle the cut-off, r are relevant and t get in: the chance that none of
    # the r does is C(m - r, t) / C(m, t).
    straddles = (hits > 0) & (hits < 1)
    m = _largest(torch.where(straddles, size, 1.0))
    t = _largest(torch.where(straddles, slots, 0.0))
    others = m - (straddles & relevant).sum(dim=-1)
    possible = t <= others
    left = torch.where(possible, others - t, 0.0)
    log_miss = _lgamma1(others) - _lgamma1(left) - _lgamma1(m) + _lgamma1(m - t)
    miss = torch.where(possible, log_miss.exp(), 0.0)
    return torch.where(surely, 1.0, 1 - miss)


def _largest(x: Tensor) -> Tensor:
    """Return the maximum by row; 0 for a row without entries."""
    return torch.nn.functional.pad(x, (0, 1)).amax(dim=-1)


def _lgamma1(x: Tensor) -> Tensor:
    return torch.lgamma(x + 1)
