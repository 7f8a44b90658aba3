"""TSAN's ranking losses for brain age.

``from model.ranking_loss import rank_difference_loss`` becomes
``from rankgrad.compat.tsan import rank_difference_loss``. Names, arguments, values and gradients
are the original's; its networks, whose weights load as they are, are in
:mod:`rankgrad.recipes.brain_age.networks`.

Where the original breaks: ranks of ages stay on their device instead of a trip to the CPU and to
CUDA, through a part of scipy that is going away; checkpoints of sorters are read without running
what is in them, and their weights are frozen in the loss instead of forgotten by the optimizer;
every sorter and ranker of this library is taken, not four.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_positive
from rankgrad.compat.sodeep import SpearmanLoss as _SpearmanLoss
from rankgrad.compat.sodeep import get_rank, load_sorter, model_loader
from rankgrad.losses.regression import pairwise_difference_loss
from rankgrad.losses.spearman import spearman_loss
from rankgrad.ranks import rank

__all__ = [
    "SpearmanLoss",
    "get_rank",
    "get_tiedrank",
    "load_sorter",
    "model_loader",
    "rank_difference_loss",
]


def get_tiedrank(batch_score: Shaped[Tensor, "*shape"], dim: int = 0) -> Float[Tensor, " n"]:
    """Return the ranks of all entries over their number: 1 / n = largest, equal ones share theirs.

    Flat, as published, and in float32. ``dim`` is the dimension whose length divides; the entries
    are ranked together whatever it is.

    >>> get_tiedrank(torch.tensor([[60.0], [80.0], [60.0], [40.0]]))
    tensor([0.6250, 0.2500, 0.6250, 1.0000])
    """
    scores = batch_score.detach().flatten()
    ranks = rank(scores if scores.is_floating_point() else scores.double(), ties="average")
    return ranks.float() / max(batch_score.shape[dim], 1)


class SpearmanLoss(_SpearmanLoss):
    """Mean squared error of ranks over n, equal ages with equal ranks.

    Args:
        sorter_type: "exa"; the name of a learned sorter; or a sorter or ranker of this library.
        seq_len: the length of its sequences.
        sorter_state_dict: its weights.
        lbd: weight of the L1 term, at least 0.

    >>> SpearmanLoss("exa")(torch.tensor([[41.0], [39.0]]), torch.tensor([[40.0], [40.0]]))
    tensor(0.0625)
    """

    def forward(
        self,
        mem_pred: Float[Tensor, "*shape"],
        mem_gt: Shaped[Tensor, "*shape"],
        pr: bool = False,
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, a column as a rule; ``pr`` does nothing, as published."""
        return spearman_loss(
            mem_pred.flatten(), mem_gt.flatten(), ranker=self.ranker, l1_weight=self.lbd
        )


class rank_difference_loss(nn.Module):  # noqa: N801  # the published name
    """Error of ranks plus ``beta`` times that of differences between random pairs.

    Pairs are drawn by numpy's global generator, as published: first all left ones, then all right
    ones. :class:`rankgrad.losses.RankDifferenceLoss` takes all pairs, at no cost.

    Args:
        sorter_checkpoint_path: a checkpoint of a sorter, as :func:`load_sorter` takes it; or a
            sorter or ranker of this library.
        beta: weight of the differences, at least 0.

    >>> loss = rank_difference_loss("set", beta=0)
    >>> loss(torch.tensor([[20.0], [40.0], [60.0]]), torch.tensor([[20.0], [40.0], [60.0]])) < 0.01
    tensor(True)
    """

    def __init__(
        self, sorter_checkpoint_path: str | Path | Callable[..., Tensor], beta: float = 1
    ) -> None:
        super().__init__()
        given: tuple[str | Callable[..., Tensor], int | None, Mapping[str, Tensor] | None]
        if isinstance(sorter_checkpoint_path, str | Path):
            given = load_sorter(sorter_checkpoint_path)
        else:
            given = sorter_checkpoint_path, None, None
        self.spearman_loss = SpearmanLoss(*given)
        self.beta = check_positive("beta", beta, zero_allowed=True)

    def forward(
        self, mem_pred: Float[Tensor, "*shape"], mem_gt: Shaped[Tensor, "*shape"]
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch of predicted and true ages."""
        predictions, ages = mem_pred.flatten(), mem_gt.flatten()
        n = len(predictions)
        a, b = (
            torch.from_numpy(np.random.randint(0, max(n, 1), n)).to(mem_pred.device)
            for _ in range(2)
        )
        differences = pairwise_difference_loss(predictions, ages, indices=(a, b))
        loss: Tensor = self.spearman_loss(predictions, ages) + self.beta * differences
        return loss
