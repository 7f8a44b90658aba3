"""LambdaLoss: pairs weighted by what a swap would do to NDCG."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive, check_reduction, result_dtype
from rankgrad.distributed import Group
from rankgrad.losses._lists import lists
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.metrics.gains import ideal_dcg
from rankgrad.metrics.of_ranks import check_cut_off, check_gain, discount, gain_of
from rankgrad.ranks import rank

__all__ = ["LambdaLoss", "lambda_loss"]

SCHEMES = ("lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp")


def lambda_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    scheme: str = "ndcg_loss2pp",
    sigma: float = 1.0,
    mu: float = 10.0,
    k: int | None = None,
    gain: str = "exponential",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    r"""Return the logistic losses of all pairs of each list, weighted by their worth to NDCG.

    .. math:: \sum_{(i, j)} w_{ij} \log_2\big(1 + e^{-\sigma (s_i - s_j)}\big)

    over the pairs with ``y_i > y_j`` (for "ndcg_loss1": over all pairs ``i != j``). With the gains
    ``G_i`` divided by the ideal DCG, the hard ranks ``r_i``, ordinal, and
    ``D(r) = log2(1 + r)``, both constant to the gradient:

    ============== ==========================================================================
    scheme         ``w_ij``
    ============== ==========================================================================
    "lambdarank"   ``|G_i - G_j| rho_ij``, with ``rho_ij = |1 / D(r_i) - 1 / D(r_j)|``
    "ndcg_loss1"   ``G_i / D(r_i)``
    "ndcg_loss2"   ``|G_i - G_j| delta_ij``, with
                   ``delta_ij = 1 / D(|r_i - r_j|) - 1 / D(|r_i - r_j| + 1)``
    "ndcg_loss2pp" ``|G_i - G_j| (rho_ij + mu delta_ij)``
    ============== ==========================================================================

    Args:
        scores: every row of the last dimension is one list.
        relevance: graded relevance in the shape of ``scores``, not negative; boolean or number.
        scheme: one of the table.
        sigma: steepness of the logistic loss, above zero.
        mu: weight of ``delta`` in "ndcg_loss2pp", at least 0.
        k: only pairs with an item among the first ``k`` count, and the ideal is that of ``k``
            places; None for all.
        gain: "exponential", ``2^y - 1``, or "linear", ``y``.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list without a relevant item has
            loss 0 and is left out of the mean, and so is (but for "ndcg_loss1") a list whose
            items are all equally relevant.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit, or relevance is negative (NaN
            instead on other devices than the CPU and in compiled code).

    Cost: ``O(n^2)`` time and memory for each list.

    Source: Wang, Li, Golbandi, Bendersky, Najork: The LambdaLoss Framework for Ranking Metric
    Optimization. CIKM 2018.

    >>> scores = torch.tensor([0.9, 0.8, 0.1])
    >>> lambda_loss(scores, torch.tensor([0, 2, 1]), scheme="lambdarank")
    tensor(0.6021)
    """
    check_reduction(reduction)
    check_choice("scheme", scheme, SCHEMES)
    check_gain(gain)
    check_cut_off(k)
    sigma = check_positive("sigma", sigma)
    mu = check_positive("mu", mu, zero_allowed=True)
    given = lists(scores, relevance, mask)
    gains = gain_of(given.grades, gain)  # zero where masked
    ideal = ideal_dcg(gains, k)
    gains = gains / torch.where(ideal > 0, ideal, 1.0).unsqueeze(-1)
    ranks = rank(given.scores, mask=given.mask)
    weights = _weights(gains, ranks, scheme, mu)

    better = given.relevance.unsqueeze(-1) > given.relevance.unsqueeze(-2)
    if scheme == "ndcg_loss1":
        better = ~torch.eye(better.shape[-1], dtype=torch.bool, device=better.device)
    pairs = better & given.valid.unsqueeze(-1) & given.valid.unsqueeze(-2)
    if k is not None:
        first = ranks <= k
        pairs = pairs & (first.unsqueeze(-1) | first.unsqueeze(-2))
    gap = given.scores.unsqueeze(-1) - given.scores.unsqueeze(-2)
    losses = F.softplus(-sigma * gap) * (weights / math.log(2))
    loss = torch.where(pairs, losses, 0.0).sum(dim=(-2, -1))
    # NaN loses every comparison above.
    broken = ranks.isnan() | gains.isnan()
    loss = torch.where(broken.any(dim=-1), torch.nan, loss)
    counts = ~(ideal <= 0)
    if scheme != "ndcg_loss1":
        counts = counts & given.ordered()
    return reduce(loss, reduction, counts, group=group).to(result_dtype(scores))


def _weights(gains: Tensor, ranks: Tensor, scheme: str, mu: float) -> Tensor:
    """Return ``w_ij``, ``[*batch, n, n]``, whatever stands at pairs that do not count."""
    discounts = discount(ranks)
    if scheme == "ndcg_loss1":
        return (gains * discounts).unsqueeze(-1).expand(*gains.shape, gains.shape[-1])
    apart = (gains.unsqueeze(-1) - gains.unsqueeze(-2)).abs()
    weights = torch.zeros_like(apart)
    if scheme != "ndcg_loss2":
        weights = (discounts.unsqueeze(-1) - discounts.unsqueeze(-2)).abs()
    if scheme != "lambdarank":
        distance = (ranks.unsqueeze(-1) - ranks.unsqueeze(-2)).abs()
        delta = discount(distance) - discount(distance + 1)
        weights = weights + (delta if scheme == "ndcg_loss2" else mu * delta)
    return apart * weights


class LambdaLoss(nn.Module):
    """Logistic losses of pairs, weighted by their worth to NDCG; see :func:`lambda_loss`.

    Args:
        scheme: "lambdarank", "ndcg_loss1", "ndcg_loss2" or "ndcg_loss2pp".
        sigma: steepness of the logistic loss.
        mu: weight of ``delta`` in "ndcg_loss2pp".
        k: only pairs with an item among the first ``k`` count; None for all.
        gain: "exponential" or "linear".
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> LambdaLoss()(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0, 2, 1]))
    tensor(5.6687)
    """

    def __init__(
        self,
        scheme: str = "ndcg_loss2pp",
        sigma: float = 1.0,
        mu: float = 10.0,
        k: int | None = None,
        gain: str = "exponential",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_choice("scheme", scheme, SCHEMES)
        check_reduction(reduction)
        check_gain(gain)
        check_cut_off(k)
        self.scheme = scheme
        self.sigma = check_positive("sigma", sigma)
        self.mu = check_positive("mu", mu, zero_allowed=True)
        self.k, self.gain, self.reduction = k, gain, reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return lambda_loss(
            scores,
            relevance,
            scheme=self.scheme,
            sigma=self.sigma,
            mu=self.mu,
            k=self.k,
            gain=self.gain,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "scheme", "sigma", "mu", "k", "gain", "reduction")
