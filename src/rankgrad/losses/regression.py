"""Regression by differences between samples: TSAN's losses for brain age."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive, check_reduction, result_dtype
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._rows import Rows, paired
from rankgrad.losses._world import Group, gathered
from rankgrad.losses.spearman import spearman_loss
from rankgrad.rankers import Ranker
from rankgrad.ranks import TIES
from rankgrad.sorting import valid_first

__all__ = [
    "PairwiseDifferenceLoss",
    "RankDifferenceLoss",
    "pairwise_difference_loss",
    "rank_difference_loss",
]

PAIRS = ("all", "random")


@gathered("predictions", "targets", along="dim")
def pairwise_difference_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    pairs: str = "all",
    indices: tuple[Int64[Tensor, "*a"], Int64[Tensor, "*b"]] | None = None,
    generator: torch.Generator | None = None,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return the mean squared error of the differences between samples.

    .. math:: \frac{1}{|P|} \sum_{(i,j) \in P}
              \big( (\hat y_i - \hat y_j) - (y_i - y_j) \big)^2

    Over all pairs ``i != j`` this is twice the unbiased variance of the residuals
    ``predictions - targets``, and is computed so: no pair is formed, none is drawn. With
    ``pairs="random"``, as published, ``n`` pairs are drawn with replacement (``i = j`` can occur,
    so that the mean is smaller by ``1 - 1/n``).

    Args:
        predictions: any shape with at least one dimension; ``dim`` holds one row.
        targets: the same shape; floating, integer or boolean.
        pairs: "all" or "random".
        indices: explicit pairs, two int64 tensors ``[*rows, p]`` or ``[p]`` of positions along
            ``dim``; then ``pairs`` is not used. Pairs with a masked member do not count.
        generator: of torch, on the device of the predictions; for "random".
        mask: boolean, broadcastable to ``predictions``, True = valid; the same as leaving the
            others out.
        dim: the dimension that holds the samples; 0 for a batch of ``[n, 1]`` outputs.
        reduction: over the rows: "mean", "sum" or "none". A row with fewer than two valid entries
            has loss 0 and is left out of the mean.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    Returns:
        The loss in the dtype of ``predictions``.

    Raises:
        TypeError: ``predictions`` is not floating point, or ``mask`` not boolean.
        ValueError: shapes, devices or a setting do not fit.

    Cost: ``O(n)``.

    Source: Cheng et al.: Brain age estimation from MRI using cascade networks with ranking loss.
    IEEE TMI 2021.

    >>> targets = torch.tensor([20.0, 40.0, 60.0])
    >>> pairwise_difference_loss(targets + 5, targets)
    tensor(0.)
    >>> pairwise_difference_loss(torch.tensor([21.0, 40.0, 60.0]), targets)
    tensor(0.6667)
    """
    check_choice("pairs", pairs, PAIRS)
    check_reduction(reduction)
    rows = paired(predictions, targets, mask, dim)
    residual = rows.predictions - rows.targets
    if indices is None and pairs == "all":
        freedom = (rows.count - 1).clamp(min=1)
        loss = (2 * rows.deviation(residual).square().sum(-1, keepdim=True) / freedom).squeeze(-1)
    else:
        a, b = _drawn(rows, generator) if indices is None else indices
        loss = _over_pairs(residual, rows, a, b)
    return reduce(loss, reduction, rows.at_least(2)).to(result_dtype(predictions))


def _drawn(rows: Rows, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw as many pairs of valid positions in each row as it has entries."""
    shape = (2, *rows.predictions.shape)
    u = torch.rand(shape, generator=generator, device=rows.predictions.device, dtype=torch.float64)
    # Float rounding can make u * count equal to count.
    place = torch.minimum((u * rows.count).long(), rows.count.long() - 1).clamp(min=0)
    if rows.mask is not None:
        place = valid_first(rows.mask).expand(shape).gather(-1, place)  # the k-th valid one
    a, b = place
    return a, b


def _over_pairs(residual: Tensor, rows: Rows, a: Tensor, b: Tensor) -> Tensor:
    if not a.dtype == b.dtype == torch.int64:
        raise TypeError(f"indices must be two int64 tensors, got {a.dtype} and {b.dtype}")
    if a.shape[-1:] != b.shape[-1:]:
        raise ValueError(
            f"indices must be two tensors of one length, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    batch = residual.shape[:-1]
    a, b = (i.expand(*batch, i.shape[-1]) for i in (a, b))
    squares = (residual.gather(-1, a) - residual.gather(-1, b)).square()
    if rows.mask is None:
        return squares.sum(-1) / max(a.shape[-1], 1)
    both = rows.mask.gather(-1, a) & rows.mask.gather(-1, b)
    return torch.where(both, squares, 0.0).sum(-1) / both.sum(-1).clamp(min=1)


@gathered("predictions", "targets", along="dim")
def rank_difference_loss(
    predictions: Float[Tensor, "*shape"],
    targets: Shaped[Tensor, "*shape"],
    *,
    beta: float = 1.0,
    ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
    ties: str = "average",
    pairs: str = "all",
    indices: tuple[Int64[Tensor, "*a"], Int64[Tensor, "*b"]] | None = None,
    generator: torch.Generator | None = None,
    mask: Bool[Tensor, "*mask"] | None = None,
    dim: int = -1,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    """Return TSAN's auxiliary loss: rank error plus ``beta`` times the error of differences.

    ``spearman_loss(form="mse") + beta * pairwise_difference_loss``: the first looks at the order
    of the samples, the second at how far they are apart. Neither looks at the mean: use it beside
    a plain regression loss. See :func:`spearman_loss` and :func:`pairwise_difference_loss` for
    the arguments, errors and sources.

    >>> targets = torch.tensor([20.0, 40.0, 60.0])
    >>> rank_difference_loss(torch.tensor([21.0, 65.0, 60.0]), targets, ranker="hard", beta=0.1)
    tensor(40.1407)
    """
    beta = check_positive("beta", beta, zero_allowed=True)
    order = spearman_loss(
        predictions, targets, ranker=ranker, ties=ties, mask=mask, dim=dim, reduction=reduction
    )
    distance = pairwise_difference_loss(
        predictions,
        targets,
        pairs=pairs,
        indices=indices,
        generator=generator,
        mask=mask,
        dim=dim,
        reduction=reduction,
    )
    return order + beta * distance


class PairwiseDifferenceLoss(nn.Module):
    """Mean squared error of differences between samples; see :func:`pairwise_difference_loss`.

    Args:
        pairs: "all" or "random".
        generator: of torch, for "random"; None = torch's global one.
        dim: the dimension that holds the samples.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> PairwiseDifferenceLoss()(torch.tensor([21.0, 40.0]), torch.tensor([20, 40]))
    tensor(1.)
    """

    def __init__(
        self,
        pairs: str = "all",
        generator: torch.Generator | None = None,
        dim: int = -1,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_choice("pairs", pairs, PAIRS)
        check_reduction(reduction)
        self.pairs = pairs
        self.generator = generator
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
        return pairwise_difference_loss(
            predictions,
            targets,
            pairs=self.pairs,
            generator=self.generator,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "pairs", "dim", "reduction")


class RankDifferenceLoss(nn.Module):
    """TSAN's auxiliary loss, ranks and differences; see :func:`rank_difference_loss`.

    Args:
        beta: weight of the differences, at least 0.
        ranker: what makes the soft ranks.
        ties: how equal targets are ranked.
        pairs: "all" or "random".
        generator: of torch, for "random"; None = torch's global one.
        dim: the dimension that holds the samples.
        reduction: "mean", "sum" or "none", over the rows.
        group: the workers whose samples are ranked together, see :mod:`rankgrad.distributed`;
            the result is that of the whole batch.

    >>> RankDifferenceLoss()(torch.tensor([21.0, 40.0]), torch.tensor([20, 40]))
    tensor(1.)
    """

    ranker: Ranker

    def __init__(
        self,
        beta: float = 1.0,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        ties: str = "average",
        pairs: str = "all",
        generator: torch.Generator | None = None,
        dim: int = -1,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_choice("ties", ties, TIES)
        check_choice("pairs", pairs, PAIRS)
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.beta = check_positive("beta", beta, zero_allowed=True)
        self.ties = ties
        self.pairs = pairs
        self.generator = generator
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
        return rank_difference_loss(
            predictions,
            targets,
            beta=self.beta,
            ranker=self.ranker,
            ties=self.ties,
            pairs=self.pairs,
            generator=self.generator,
            mask=mask,
            dim=self.dim,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "beta", "ranker", "ties", "pairs", "dim", "reduction")
