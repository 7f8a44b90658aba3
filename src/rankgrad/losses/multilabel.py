"""SoDeep's loss for mean average precision: positives to the front, class by class."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_beside, check_floating, check_reduction, result_dtype
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._world import Group, gathered
from rankgrad.rankers import Ranker, as_ranker

__all__ = ["MapRankingLoss", "map_ranking_loss"]


@gathered("scores", "targets", along=-2)
def map_ranking_loss(
    scores: Float[Tensor, "*batch n classes"],
    targets: Shaped[Tensor, "*batch n classes"],
    *,
    ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
    normalize: bool = False,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*values"]:
    r"""Return how far down the positives of each class rank among the ``n`` samples.

    With ``r_ic`` the soft rank of sample ``i`` among the scores of class ``c``:

    .. math:: L_c = \frac1n \sum_i t_{ic} \, r_{ic}

    Args:
        scores: ``[*batch, n, classes]``; samples are ranked against each other, per class.
        targets: the same shape; 1 = positive, 0 = negative (other values weigh their ranks).
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`.
        normalize: divide ``L_c`` by the sum of its targets: the mean normalised rank of the
            positives, so that frequent classes do not weigh more.
        mask: boolean, broadcastable to ``scores``, True = valid; ``n`` counts the valid samples
            of the class.
        reduction: over the classes that have a positive: "mean", or "sum" as published; "none"
            gives ``[*batch, classes]``. A class without a positive has loss 0 and is left out of
            the mean.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``scores``. A class with a NaN score is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: shapes, devices or the reduction do not fit.

    Cost: that of the ranker, on ``classes`` rows of ``n``.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019.

    >>> scores = torch.tensor([[3.0, 0.1], [2.0, 0.9], [1.0, 0.4]])
    >>> targets = torch.tensor([[1, 0], [0, 0], [1, 0]])
    >>> map_ranking_loss(scores, targets, ranker="hard")
    tensor(1.3333)
    >>> map_ranking_loss(scores, targets, ranker="hard", normalize=True)
    tensor(0.6667)
    """
    check_reduction(reduction)
    check_floating("scores", scores)
    if scores.dim() < 2:
        raise ValueError(
            f"scores must have the shape [*batch, n, classes], got {tuple(scores.shape)}"
        )
    mask = check_beside("targets", targets, "scores", scores, mask)
    flags = None if mask is None else mask.mT
    ranks = as_ranker(ranker)(scores.mT, flags)  # [*batch, classes, n]
    weights = targets.mT.to(ranks.dtype)
    count: Tensor | int = max(ranks.shape[-1], 1)
    if flags is not None:
        weights = torch.where(flags, weights, 0.0)
        count = flags.sum(-1).clamp(min=1).to(ranks.dtype)
    total = weights.sum(-1)
    valid = (weights != 0).any(-1)
    loss = (weights * ranks).sum(-1) / count
    if normalize:
        loss = loss / torch.where(valid, total, 1.0)
    return reduce(loss, reduction, valid).to(result_dtype(scores))


class MapRankingLoss(nn.Module):
    """Positives to the front, class by class; see :func:`map_ranking_loss`.

    Args:
        ranker: what makes the soft ranks.
        normalize: divide the loss of a class by its number of positives.
        reduction: "mean", "sum" or "none", over the classes that have a positive.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> loss = MapRankingLoss(ranker="hard", reduction="none")
    >>> loss(torch.tensor([[0.9, 0.1], [0.3, 0.8]]), torch.tensor([[0, 1], [1, 1]]))
    tensor([1.0000, 1.5000])
    """

    ranker: Ranker

    def __init__(
        self,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        normalize: bool = False,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.normalize = normalize
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n classes"],
        targets: Shaped[Tensor, "*batch n classes"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*values"]:
        """Return the loss of these scores."""
        return map_ranking_loss(
            scores,
            targets,
            ranker=self.ranker,
            normalize=self.normalize,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "normalize", "reduction")
