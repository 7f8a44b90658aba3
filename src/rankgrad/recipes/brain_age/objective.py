"""What a brain-age network is trained on: the error of ages, of their ranks, of differences."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive
from rankgrad.distributed import Group, all_gather
from rankgrad.losses._module import hold_ranker
from rankgrad.losses.regression import pairwise_difference_loss
from rankgrad.losses.spearman import spearman_loss
from rankgrad.rankers import Ranker

__all__ = ["BASES", "BrainAgeLoss"]

BASES = ("mse", "l1")


class BrainAgeLoss(nn.Module):
    r"""A plain error of ages, and TSAN's two terms over the batch.

    .. math:: L_\text{base} + \lambda \, (L_\text{Spearman} + \beta L_\text{difference})

    Equal ages share their rank; all pairs count instead of random ones. In the second stage the
    error of the residual is that of the age, so that the same loss serves both. The ranks of one
    scan say nothing: its terms are 0. Where all ages are equal, the terms draw the predictions
    together.

    Args:
        base: "mse" or "l1".
        weight: lambda; 0 leaves the plain error.
        beta: weight of the differences beside the ranks.
        ranker: what makes the soft ranks; see :func:`rankgrad.rankers.as_ranker`.
        group: the workers whose scans are one batch, see :mod:`rankgrad.distributed`; each gets
            the loss of the whole.

    Source: Cheng et al.: Brain age estimation from MRI using cascade networks with ranking loss.
    IEEE TMI 2021.

    >>> import torch
    >>> loss = BrainAgeLoss(weight=1.0)
    >>> loss(torch.tensor([66.0, 64.0, 52.0]), torch.tensor([60.0, 71.0, 50.0]))
    tensor(118.39...)
    >>> {name: round(value.item(), 2) for name, value in loss.parts.items()}
    {'base': 29.67, 'ranks': 0.06, 'differences': 88.67}
    """

    ranker: Ranker

    def __init__(
        self,
        base: str = "mse",
        weight: float = 10.0,
        beta: float = 1.0,
        ranker: Ranker | str | Callable[..., Tensor] = "sodeep",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_choice("base", base, BASES)
        hold_ranker(self, ranker)
        self.base = base
        self.weight = check_positive("weight", weight, zero_allowed=True)
        self.beta = check_positive("beta", beta, zero_allowed=True)
        self.group = group
        self.parts: dict[str, Tensor] = {}

    def forward(self, predictions: Float[Tensor, " n"], ages: Float[Tensor, " n"]) -> Tensor:
        """Return the loss of the batch; ``parts`` holds what it is made of, unweighted."""
        predictions = all_gather(predictions, self.group)
        ages = all_gather(ages.to(predictions.dtype), self.group)
        error = F.mse_loss if self.base == "mse" else F.l1_loss
        parts = {"base": error(predictions, ages)}
        total = parts["base"]
        if self.weight > 0:
            parts["ranks"] = spearman_loss(predictions, ages, ranker=self.ranker)
            parts["differences"] = pairwise_difference_loss(predictions, ages)
            total = total + self.weight * (parts["ranks"] + self.beta * parts["differences"])
        self.parts = {name: value.detach() for name, value in parts.items()}
        return total
