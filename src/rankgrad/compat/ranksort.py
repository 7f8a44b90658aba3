"""The names and conventions of the authors' Rank & Sort code, over this library's operations.

Change the import and keep the rest: ``RankSort.apply``, ``APLoss.apply``, ``aLRPLoss.apply``. As
published, the first output of ``RankSort`` carries the gradient of both errors and the second
none. Where the original raises (no positive), the losses are zero; where it returns NaN (``delta``
0 with ties), ties count whole.

>>> import torch
>>> logits = torch.tensor([2.0, 1.0, 0.5, -1.0], requires_grad=True)
>>> ranking, sorting = RankSort.apply(logits, torch.tensor([0.0, 0.5, 0.9, 0.0]))
>>> (ranking + sorting).backward()
"""

import torch
from torch import Tensor

from rankgrad.losses.detection import alrp, ap_loss, rank_sort

__all__ = ["APLoss", "RankSort", "aLRPLoss"]


class RankSort:
    """Rank & Sort: ``apply`` returns the ranking and the sorting error."""

    @staticmethod
    def apply(
        logits: Tensor, targets: Tensor, delta_RS: float = 0.50, eps: float = 1e-10
    ) -> tuple[Tensor, Tensor]:
        """Return both errors; ``eps`` is accepted and not needed."""
        ranking, sorting = rank_sort(logits, targets, delta=delta_RS)
        both = ranking + sorting
        idle = both - both.detach()
        return ranking.detach() + idle, sorting.detach() + 0.0 * idle


class APLoss:
    """AP loss: ``apply`` returns one minus the mean interpolated precision."""

    @staticmethod
    def apply(logits: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
        """Return the loss for targets 1 (positive), 0 (negative) and others (ignored)."""
        return ap_loss(logits, targets, delta=delta)


class aLRPLoss:  # noqa: N801  # the published name
    """aLRP: ``apply`` returns the classification loss, the ranks and the order of positives."""

    @staticmethod
    def apply(
        logits: Tensor,
        targets: Tensor,
        regression_losses: Tensor,
        delta: float = 1.0,
        eps: float = 1e-5,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, ranks [p] in input order, and the ascending order of positive scores.

        ``eps`` is accepted; positives with fewer than 1e-5 false positives get no gradient.
        """
        parts = alrp(logits, targets, regression_losses.detach(), delta=delta)
        order = torch.argsort(logits.detach()[targets == 1])
        return parts.classification, parts.rank, order
