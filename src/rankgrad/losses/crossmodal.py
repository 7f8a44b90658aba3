"""SoDeep's losses for cross-modal retrieval: the diagonal of a score matrix to the front."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankgrad.checks import (
    check_count,
    check_finite_number,
    check_floating,
    check_mask,
    check_reduction,
    compute_dtype,
    result_dtype,
)
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._world import Group, gathered
from rankgrad.rankers import Ranker, as_ranker
from rankgrad.sorting import sort

__all__ = ["RankHardLoss", "RankLoss", "rank_hard_loss", "rank_loss"]


@gathered("scores", along=-2, mask_shape=lambda shape: shape[:-1])
def rank_loss(
    scores: Float[Tensor, "*batch n n"],
    *,
    ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*values"]:
    r"""Return how far down each positive ranks among the candidates, in both directions.

    Entry ``(i, j)`` scores item ``i`` of one modality against item ``j`` of the other; the
    positives are on the diagonal. With ``r`` the soft ranks within the rows and ``q`` those within
    the columns, the loss of pair ``i`` is

    .. math:: L_i = (r_{ii} + q_{ii}) / n

    Args:
        scores: ``[*batch, n, n]``.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`.
        mask: boolean, broadcastable to ``[*batch, n]``, True = valid; False takes a pair, that is
            its row and its column, out. ``n`` counts the valid pairs.
        reduction: over the pairs: "mean", or "sum" as published; "none" gives ``[*batch, n]``.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``scores``. A NaN score makes its row and its column NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: ``scores`` is not square, or the mask or the reduction does not fit.

    Cost: that of the ranker, on ``2 n`` rows of ``n``.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019.

    >>> scores = torch.tensor([[0.9, 0.1, 0.3], [0.7, 0.5, 0.2], [0.0, 0.4, 0.8]])
    >>> rank_loss(scores, ranker="hard", reduction="none")
    tensor([0.6667, 1.0000, 0.6667])
    """
    check_reduction(reduction)
    rows, columns, valid = _ranks(scores, ranker, mask)
    loss = _diagonal(rows) + _diagonal(columns)
    return reduce(loss, reduction, valid).to(result_dtype(scores))


@gathered("scores", along=-2, mask_shape=lambda shape: shape[:-1])
def rank_hard_loss(
    scores: Float[Tensor, "*batch n n"],
    *,
    margin: float = 0.2,
    n_hardest: int = 1,
    ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*values"]:
    r"""Return how far the hardest negatives come within a margin of each positive, in ranks.

    With ``r`` and ``q`` as in :func:`rank_loss`, and ``h(r, i)`` the ``n_hardest`` entries of row
    ``i`` off the diagonal whose rank is smallest:

    .. math::
        L_i = \sum_{j \in h(r, i)} \max\Big(0, \text{margin} + \frac{r_{ii} - r_{ij}}{n}\Big)
            + \sum_{j \in h(q, i)} \max\Big(0, \text{margin} + \frac{q_{ii} - q_{ij}}{n}\Big)

    The margin is a share of ``n``: 0.2 asks that a fifth of the candidates fit between a positive
    and its hardest negative. (The authors' code has a margin of 1/n whatever it is set to;
    :mod:`rankgrad.compat.sodeep` keeps that.)

    Args:
        scores: ``[*batch, n, n]``, positives on the diagonal.
        margin: in normalised ranks.
        n_hardest: negatives for each positive and direction, at least 1; all if there are fewer.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`.
        mask: boolean, broadcastable to ``[*batch, n]``, True = valid pair.
        reduction: over the pairs: "mean", or "sum" as published; "none" gives ``[*batch, n]``.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``scores``; 0 for a pair without a negative.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: ``scores`` is not square, or a setting does not fit.

    Cost: that of the ranker, on ``2 n`` rows of ``n``.

    Source: Engilberge, Chevallier, Pérez, Cord: SoDeep: a sorting deep net to learn ranking loss
    surrogates. CVPR 2019.

    >>> scores = torch.tensor([[0.9, 0.1, 0.3], [0.7, 0.5, 0.2], [0.0, 0.4, 0.8]])
    >>> rank_hard_loss(scores, margin=0.5, ranker="hard", reduction="none")
    tensor([0.3333, 1.0000, 0.3333])
    """
    check_reduction(reduction)
    margin = check_finite_number("margin", margin)
    n_hardest = check_count("n_hardest", n_hardest)
    rows, columns, valid = _ranks(scores, ranker, mask)
    own = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    negative = ~own if valid is None else ~own & valid.unsqueeze(-2)

    def violation(ranks: Tensor) -> Tensor:
        far = torch.where(negative, ranks, torch.inf)
        hardest, _ = sort(far, descending=False)
        gap = margin + _diagonal(ranks).unsqueeze(-1) - hardest[..., :n_hardest]
        return gap.clamp(min=0).sum(-1)

    return reduce(violation(rows) + violation(columns), reduction, valid).to(result_dtype(scores))


def _ranks(
    scores: Tensor, ranker: Ranker | str | Callable[..., Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the normalised ranks within rows, within columns (transposed), and valid pairs."""
    check_floating("scores", scores)
    if scores.dim() < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ValueError(
            "scores must have the shape [*batch, n, n] with the positives on the diagonal, "
            f"got {tuple(scores.shape)}"
        )
    serve = as_ranker(ranker)
    scores = scores.to(compute_dtype(scores))  # once: both gradients meet in full precision
    if mask is None:
        n = max(scores.shape[-1], 1)
        return serve(scores) / n, serve(scores.mT) / n, None
    check_mask("mask", mask, "scores without its last dimension", scores[..., 0])
    valid = mask.expand(scores.shape[:-1])
    both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    count = valid.sum(-1).clamp(min=1)[..., None, None]
    return serve(scores, both) / count, serve(scores.mT, both) / count, valid


def _diagonal(ranks: Tensor) -> Tensor:
    return ranks.diagonal(dim1=-2, dim2=-1)


class RankLoss(nn.Module):
    """Ranks of the diagonal of a score matrix, both ways; see :func:`rank_loss`.

    Args:
        ranker: what makes the soft ranks.
        reduction: "mean", "sum" or "none", over the pairs.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> RankLoss(ranker="hard")(torch.eye(4))
    tensor(0.5000)
    """

    ranker: Ranker

    def __init__(
        self,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*values"]:
        """Return the loss of this score matrix."""
        return rank_loss(
            scores, ranker=self.ranker, mask=mask, reduction=self.reduction, group=self.group
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "reduction")


class RankHardLoss(nn.Module):
    """Hardest negatives within a margin of the diagonal, in ranks; see :func:`rank_hard_loss`.

    Args:
        margin: in normalised ranks.
        n_hardest: negatives for each positive and direction.
        ranker: what makes the soft ranks.
        reduction: "mean", "sum" or "none", over the pairs.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> RankHardLoss(margin=0.2, n_hardest=1, ranker="hard")(torch.eye(4))
    tensor(0.)
    """

    ranker: Ranker

    def __init__(
        self,
        margin: float = 0.2,
        n_hardest: int = 1,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.margin = check_finite_number("margin", margin)
        self.n_hardest = check_count("n_hardest", n_hardest)
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*values"]:
        """Return the loss of this score matrix."""
        return rank_hard_loss(
            scores,
            margin=self.margin,
            n_hardest=self.n_hardest,
            ranker=self.ranker,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "margin", "n_hardest", "ranker", "reduction")
