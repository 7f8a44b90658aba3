"""Spearman's rank correlation as a loss, with any ranker."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive, check_reduction, result_dtype
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._rows import paired
from rankgrad.losses._world import Group, gathered
from rankgrad.losses.correlation import pearson
from rankgrad.rankers import Ranker, as_ranker
from rankgrad.ranks import TIES, rank

__all__ = ["SpearmanLoss", "spearman_loss"]

FORMS = ("mse", "correlation")


@gathered("predictions", "targets", along="dim")
def spearman_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
    form: str = "mse",
    ties: str = "average",
    l1_weight: float = 0.0,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return how far the soft ranks of the predictions are from the ranks of the targets.

    With ``r`` the ranks that the ranker gives to the predictions of a row and ``t`` the hard ranks
    of its ``n`` targets:

    .. math::
        \text{"mse"}: \frac1n \sum_i \Big(\frac{r_i - t_i}{n}\Big)^2 \qquad
        \text{"correlation"}: 1 - \operatorname{pearson}(r, t)

    plus ``l1_weight`` times the mean of ``|prediction - target|``. The first form is SoDeep's and
    TSAN's; for hard ranks without ties it is ``(1 - rho)(n^2 - 1) / (6 n^2)``. The second is one
    minus Spearman's rho itself. Where the ranks of a row are all equal on one side, its
    correlation is taken as 0: loss 1, no gradient.

    Args:
        predictions: any shape with at least one dimension; ``dim`` holds one row.
        targets: the same shape; floating, integer or boolean.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`. "sodeep" is the
            pairwise logistic ranker that adapts its steepness to the scale of the predictions.
        form: "mse" or "correlation".
        ties: how equal targets are ranked; see :func:`rankgrad.rank`.
        l1_weight: weight of the L1 term, at least 0. SoDeep uses 1 for the first epochs: ranks say
            nothing of the scale.
        mask: boolean, broadcastable to ``predictions``, True = valid; the same as leaving the
            others out.
        dim: the dimension to rank along; 0 for a batch of ``[n, 1]`` outputs.
        reduction: over the rows: "mean", "sum" or "none". A row without a valid entry (with fewer
            than two, for "correlation") has loss 0 and is left out of the mean.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``predictions``. A row with a NaN is NaN.

    Raises:
        TypeError: ``predictions`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit.

    Cost: that of the ranker.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019. Cheng et al.: Brain age estimation from MRI using cascade networks with
    ranking loss. IEEE TMI 2021.

    >>> targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> spearman_loss(torch.tensor([0.2, 0.1, 0.7, 0.9]), targets)
    tensor(0.0257)
    >>> spearman_loss(-targets, targets, ranker="hard", form="correlation").round(decimals=4)
    tensor(2.)
    """
    check_choice("form", form, FORMS)
    check_choice("ties", ties, TIES)
    check_reduction(reduction)
    l1_weight = check_positive("l1_weight", l1_weight, zero_allowed=True)
    rows = paired(predictions, targets, mask, dim)
    ranks = as_ranker(ranker)(rows.predictions, rows.mask)
    wanted = rank(rows.targets, ties=ties, mask=rows.mask).to(ranks.dtype)
    if form == "mse":
        n = rows.count.clamp(min=1)
        loss = rows.mean(((ranks - wanted) / n).square()).squeeze(-1)
        valid = rows.at_least(1)
    else:
        valid = rows.at_least(2)
        loss = torch.where(valid, 1 - pearson(ranks, wanted, rows), 0.0)
    if l1_weight > 0:
        loss = loss + l1_weight * rows.mean((rows.predictions - rows.targets).abs()).squeeze(-1)
    return reduce(loss, reduction, valid).to(result_dtype(predictions))


class SpearmanLoss(nn.Module):
    """Spearman's rank correlation as a loss; see :func:`spearman_loss`.

    Args:
        ranker: what makes the soft ranks.
        form: "mse" or "correlation".
        ties: how equal targets are ranked.
        l1_weight: weight of the mean absolute error.
        dim: the dimension to rank along.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> loss = SpearmanLoss(ranker="projection", form="correlation")
    >>> loss(torch.tensor([0.2, 0.1, 0.7, 0.9]), torch.tensor([1, 2, 3, 4]))
    tensor(0.0975)
    """

    ranker: Ranker

    def __init__(
        self,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        form: str = "mse",
        ties: str = "average",
        l1_weight: float = 0.0,
        dim: int = -1,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        check_choice("ties", ties, TIES)
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.form = form
        self.ties = ties
        self.l1_weight = check_positive("l1_weight", l1_weight, zero_allowed=True)
        self.dim = dim
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        predictions: Float[Tensor, "*shape"],
        targets: Shaped[Tensor, "*shape"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of these predictions."""
        return spearman_loss(
            predictions,
            targets,
            ranker=self.ranker,
            form=self.form,
            ties=self.ties,
            l1_weight=self.l1_weight,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "form", "ties", "l1_weight", "dim", "reduction")
