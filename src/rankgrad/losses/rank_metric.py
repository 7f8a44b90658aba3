"""Any function of ranks as a loss."""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankgrad.checks import check_reduction, result_dtype
from rankgrad.distributed import Group, all_gather, members
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import reduce
from rankgrad.rankers import Ranker

__all__ = ["RankMetricLoss"]


class RankMetricLoss(nn.Module):
    """The user's own function of ``(ranks, targets)``, made trainable by a soft ranker.

    Write the criterion for one row or for a batch of rows, in terms of ranks (1 = largest score),
    so that small is good:

    >>> import torch
    >>> import rankgrad as rg
    >>> def reciprocal_rank(ranks, relevance):
    ...     return 1 - (relevance / ranks).sum(-1)
    >>> loss = RankMetricLoss(reciprocal_rank, ranker="logistic")
    >>> scores = torch.tensor([0.2, 0.9, 0.5], requires_grad=True)
    >>> loss(scores, torch.tensor([0, 0, 1])).backward()
    >>> metric = RankMetricLoss(reciprocal_rank, ranker="hard")
    >>> metric(scores, torch.tensor([0, 0, 1]))
    tensor(0.5000)

    With the hard ranker the same object is the metric.

    Args:
        criterion: takes ranks (float32 or float64, in the shape of the scores) and whatever
            ``targets`` are; returns a tensor, for instance one value a row. It must be
            differentiable in the ranks. If the loss is called with a mask, the criterion gets it
            as the keyword ``mask``; ranks are 0 where it is False.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`.
        reduction: "mean", "sum" or "none", of what the criterion returns.
        group: the workers whose scores, and targets if they are a tensor, are joined along the
            last dimension first; see :mod:`rankgrad.distributed`.
    """

    ranker: Ranker

    def __init__(
        self,
        criterion: Callable[..., Tensor],
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        if not callable(criterion):
            raise TypeError(f"criterion must be callable, got {type(criterion).__name__}")
        check_reduction(reduction)
        hold_ranker(self, ranker)
        self.criterion = criterion
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        targets: object,
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*values"]:
        """Return the criterion of the soft ranks, reduced, in the dtype of ``scores``."""
        if members(self.group) is not None:
            mask = None if mask is None else all_gather(mask.expand(scores.shape), self.group, -1)
            if isinstance(targets, Tensor):
                targets = all_gather(targets, self.group, -1)
            scores = all_gather(scores, self.group, -1)
        ranks = self.ranker(scores, mask)
        if mask is None:
            values = self.criterion(ranks, targets)
        else:
            values = self.criterion(ranks, targets, mask=mask.broadcast_to(scores.shape))
        return reduce(values, self.reduction).to(result_dtype(scores))

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        name = getattr(self.criterion, "__name__", type(self.criterion).__name__)
        return f"criterion={name}, {settings(self, 'ranker', 'reduction')}"
