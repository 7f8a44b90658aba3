"""NDCG and the reciprocal rank, with soft ranks in the place of the hard ones."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_reduction, result_dtype
from rankgrad.comparisons import Logistic
from rankgrad.distributed import Group
from rankgrad.losses._lists import Lists, lists
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.metrics.gains import ideal_dcg
from rankgrad.metrics.of_ranks import (
    check_cut_off,
    check_gain,
    discount,
    gain_of,
    ndcg_of_discounts,
    reciprocal_rank_of_ranks,
)
from rankgrad.rankers import Pairwise, Ranker, RankerLike, as_ranker

__all__ = ["ApproxMRRLoss", "ApproxNDCGLoss", "approx_mrr_loss", "approx_ndcg_loss"]

_DEFAULT = Pairwise(Logistic(0.1))


def approx_ndcg_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    ranker: RankerLike = _DEFAULT,
    k: int | None = None,
    gain: str = "exponential",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    r"""Return one minus the NDCG that the soft ranks of each list would have.

    .. math:: 1 - \frac{1}{\mathrm{ideal}} \sum_i \frac{G(y_i)}{\log_2(1 + r_i)}

    with the soft ranks ``r``. With ``ranker="hard"`` it is one minus :func:`rankgrad.metrics.ndcg`
    where no scores are tied.

    Args:
        scores: every row of the last dimension is one list.
        relevance: graded relevance in the shape of ``scores``, not negative; boolean or number.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`. By default the
            paper's: pairwise logistic, with temperature 0.1.
        k: items that rank behind ``k`` (from ``k + 1/2`` on) do not count; None for all.
        gain: "exponential", ``G(y) = 2^y - 1``, or "linear", ``G(y) = y``.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list without relevance has loss 0
            and is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit, or relevance is negative (NaN
            instead on other devices than the CPU and in compiled code).

    Cost: that of the ranker, and one sort.

    Source: Qin, Liu, Li: A general approximation framework for direct optimization of information
    retrieval measures. Information Retrieval, 2010.

    >>> import torch
    >>> scores = torch.tensor([0.9, 0.8, 0.1])
    >>> approx_ndcg_loss(scores, torch.tensor([0, 2, 1]))
    tensor(0.2924)
    >>> approx_ndcg_loss(scores, torch.tensor([2, 1, 0]), ranker="hard")
    tensor(0.)
    """
    check_reduction(reduction)
    check_gain(gain)
    check_cut_off(k)
    given = lists(scores, relevance, mask)
    gains = gain_of(given.grades, gain)  # zero where masked
    ideal = ideal_dcg(gains, k)
    discounts = discount(as_ranker(ranker)(given.scores, given.mask), k)
    value = ndcg_of_discounts(discounts, gains, ideal)
    return reduce(1 - value, reduction, ~(ideal <= 0), group=group).to(result_dtype(scores))


def approx_mrr_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    ranker: RankerLike = _DEFAULT,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    """Return one minus the reciprocal of the smallest soft rank of a relevant item, by list.

    With ``ranker="hard"`` it is one minus :func:`rankgrad.metrics.mrr` where no scores are tied.
    (TF-Ranking's loss of the same name takes the mean over all relevant items instead, which is
    no bound on the reciprocal rank; with one relevant item the two agree.)

    Args:
        scores: every row of the last dimension is one list.
        relevance: in the shape of ``scores``, boolean or number; above zero = relevant.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`. By default
            pairwise logistic, with temperature 0.1.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list without a relevant item has
            loss 0 and is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit.

    Cost: that of the ranker.

    Source: Qin, Liu, Li: A general approximation framework for direct optimization of information
    retrieval measures. Information Retrieval, 2010.

    >>> import torch
    >>> approx_mrr_loss(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0, 1, 1]))
    tensor(0.4226)
    """
    check_reduction(reduction)
    given: Lists = lists(scores, relevance, mask)
    relevant = given.relevance > 0
    ranks = as_ranker(ranker)(given.scores, given.mask)
    value = reciprocal_rank_of_ranks(ranks, relevant)
    broken = given.relevance.isnan().any(dim=-1)
    value = torch.where(broken, torch.nan, value)
    return reduce(1 - value, reduction, relevant.any(dim=-1) | broken, group=group).to(
        result_dtype(scores)
    )


class ApproxNDCGLoss(nn.Module):
    """One minus NDCG with soft ranks; see :func:`approx_ndcg_loss`.

    Args:
        ranker: what makes the soft ranks; pairwise logistic with temperature 0.1 by default.
        k: items that rank behind ``k`` do not count; None for all.
        gain: "exponential" or "linear".
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> import torch
    >>> loss = ApproxNDCGLoss(ranker="projection", k=2)
    >>> loss(torch.tensor([2.5, 0.8, 0.1]), torch.tensor([0, 2, 1]))
    tensor(0.5009)
    """

    ranker: Ranker

    def __init__(
        self,
        ranker: RankerLike = _DEFAULT,
        k: int | None = None,
        gain: str = "exponential",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_gain(gain)
        check_cut_off(k)
        hold_ranker(self, ranker)
        self.k, self.gain, self.reduction = k, gain, reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return approx_ndcg_loss(
            scores,
            relevance,
            ranker=self.ranker,
            k=self.k,
            gain=self.gain,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "k", "gain", "reduction")


class ApproxMRRLoss(nn.Module):
    """One minus the reciprocal rank with soft ranks; see :func:`approx_mrr_loss`.

    Args:
        ranker: what makes the soft ranks; pairwise logistic with temperature 0.1 by default.
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> import torch
    >>> ApproxMRRLoss(ranker="hard")(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0, 1, 1]))
    tensor(0.5000)
    """

    ranker: Ranker

    def __init__(
        self, ranker: RankerLike = _DEFAULT, reduction: str = "mean", group: Group = None
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return approx_mrr_loss(
            scores,
            relevance,
            ranker=self.ranker,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "reduction")
