"""Normalised discounted cumulative gain."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import check_beside, compute_dtype
from rankgrad.metrics._rows import reduce_rows, wide
from rankgrad.metrics.of_ranks import check_cut_off, discount, gain_of, ndcg_of_discounts
from rankgrad.ranks import rank
from rankgrad.sorting import argsort

__all__ = ["ideal_dcg", "ndcg", "place_discounts"]


def ndcg(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    k: int | None = None,
    *,
    gain: str = "linear",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    r"""Return the normalised discounted cumulative gain of each list.

    .. math:: \mathrm{NDCG} = \frac{1}{\mathrm{ideal}} \sum_i
        \frac{G(y_i)}{\log_2(1 + \mathrm{rank}_i)}

    where the ideal is the same sum for the best order. The gains of equal scores are shared: the
    value is the expectation over their orders.

    Args:
        scores: predictions; every row of the last dimension is one ranked list.
        relevance: graded relevance in the shape of ``scores``, not negative; boolean or number.
        k: only the first ``k`` places count; None for all.
        gain: "linear", ``G(y) = y``, or "exponential", ``G(y) = 2^y - 1``.
        mask: boolean, broadcastable to ``scores``, True = valid.
        reduction: "none" gives the value of each row; "mean" and "sum" are over the rows.

    Returns:
        float64 for float64 scores, else float32. A list without relevance is zero, and left out of
        the mean. A row with a NaN score is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean.
        ValueError: shapes or devices that do not fit, an unknown ``gain`` or ``reduction``, or
            negative relevance (NaN instead on other devices than the CPU and in compiled code).

    Cost: three sorts, ``O(n log n)``. Equal to ``sklearn.metrics.ndcg_score``.

    Source: Järvelin, Kekäläinen: Cumulated gain-based evaluation of IR techniques, 2002.

    >>> ndcg(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 3, 2]))
    tensor(0.8175)
    """
    mask = check_beside("relevance", relevance, "scores", scores, mask)
    check_cut_off(k)
    grades = wide(relevance)
    gains = gain_of(grades if mask is None else torch.where(mask, grades, 0.0), gain)
    ideal = ideal_dcg(gains, k)
    value = ndcg_of_discounts(_shared_discounts(scores, k, mask), gains, ideal)
    return reduce_rows(value, ~(ideal <= 0), reduction, compute_dtype(scores), 0.0)


def ideal_dcg(gains: Float[Tensor, "*batch n"], k: int | None = None) -> Float[Tensor, "*batch"]:
    """Return the discounted cumulative gain of the best order, by row; masked gains are zero."""
    return (gains.gather(-1, argsort(gains)) * place_discounts(gains, k)).sum(dim=-1)


def place_discounts(gains: Float[Tensor, "*batch n"], k: int | None = None) -> Float[Tensor, " n"]:
    """Return the discounts of the places from the first on, in the dtype of the gains."""
    n = gains.shape[-1]
    value = torch.arange(2, n + 2, device=gains.device, dtype=gains.dtype).log2().reciprocal()
    if k is not None and k < n:
        value[k:].zero_()
    return value


def _shared_discounts(scores: Tensor, k: int | None, mask: Tensor | None) -> Tensor:
    """Return for each item the mean discount of the places that its score takes."""
    n = scores.shape[-1]
    first = rank(scores, ties="min", mask=mask)
    last = rank(scores, ties="max", mask=mask)
    places = wide(torch.arange(1, n + 1, device=scores.device))
    upto = torch.nn.functional.pad(discount(places, k).cumsum(dim=-1), (1, 0))
    # A masked item has rank 0: from place 0 to place 0 there is nothing.
    begin, end = ((r.nan_to_num().long()) for r in ((first - 1).clamp(min=0), last))
    mean = (upto[end] - upto[begin]) / (end - begin).clamp(min=1)
    return torch.where(first.isnan(), torch.nan, mean)
