"""SoDeep's losses, with its handcrafted sorter ``"exa"``.

``from sodeep import SpearmanLoss`` becomes ``from rankgrad.compat.sodeep import SpearmanLoss``.
Names, arguments, values and gradients are the original's; the sorter needs memory linear in the
length instead of quadratic.

Where the original breaks: rows of equal scores get the middle rank, batches without a positive
and empty ones a zero loss with a graph.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_floating, check_positive
from rankgrad.compat._argsort import torch_argsort
from rankgrad.losses._module import hold_ranker
from rankgrad.losses._rows import real
from rankgrad.losses.crossmodal import rank_hard_loss, rank_loss
from rankgrad.losses.multilabel import map_ranking_loss
from rankgrad.rankers import Pairwise, Ranker

__all__ = ["MapRankingLoss", "RankHardLoss", "RankLoss", "SpearmanLoss", "get_rank"]


def get_rank(batch_score: Shaped[Tensor, "*shape"], dim: int = 0) -> Float[Tensor, "*shape"]:
    """Return ranks along ``dim``, over its length: 1 / n = largest, 1 = smallest.

    Equal scores come as torch sorts them. float64 for float64 and integer scores, else float32.

    >>> get_rank(torch.tensor([0.1, 0.7, 0.4, 0.7]))
    tensor([1.0000, 0.5000, 0.7500, 0.2500])
    """
    scores = real(batch_score.detach())
    if scores.dim() == 0:
        raise ValueError("batch_score must have at least one dimension, got a scalar")
    n = scores.shape[dim]
    order = torch_argsort(scores, dim)
    place = torch.arange(n, 0, -1, device=scores.device, dtype=scores.dtype)
    place = place.reshape(-1, *(1,) * (scores.dim() - 1)).movedim(0, dim).expand_as(scores)
    return torch.empty_like(scores).scatter_(dim, order, place) / max(n, 1)


class _WithSorter(nn.Module):
    """Takes SoDeep's three sorter arguments."""

    ranker: Ranker

    def __init__(
        self,
        sorter_type: str | Callable[..., Tensor],
        seq_len: int | None = None,
        sorter_state_dict: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if sorter_type == "exa":
            hold_ranker(self, Pairwise(steepness="auto"))
        elif not isinstance(sorter_type, str) and callable(sorter_type):
            hold_ranker(self, sorter_type)
        else:
            raise ValueError(
                f'sorter_type must be "exa" or a ranker of rankgrad, got {sorter_type!r}'
            )


class SpearmanLoss(_WithSorter):
    """Mean squared error of ranks over n, plus ``lbd`` times the mean absolute error.

    Args:
        sorter_type: "exa", or a ranker of this library.
        seq_len: not used.
        sorter_state_dict: not used.
        lbd: weight of the L1 term, at least 0.

    >>> SpearmanLoss("exa")(torch.tensor([0.2, 0.1, 0.7]), torch.tensor([1.0, 2.0, 3.0]))
    tensor(0.0650)
    """

    def __init__(
        self,
        sorter_type: str | Callable[..., Tensor],
        seq_len: int | None = None,
        sorter_state_dict: dict[str, Any] | None = None,
        lbd: float = 0,
    ) -> None:
        super().__init__(sorter_type, seq_len, sorter_state_dict)
        self.lbd = check_positive("lbd", lbd, zero_allowed=True)

    def forward(
        self,
        mem_pred: Float[Tensor, " n"],
        mem_gt: Shaped[Tensor, " n"],
        pr: bool = False,
    ) -> Float[Tensor, ""]:
        """Return the loss of the predictions of one batch; ``pr`` does nothing, as published."""
        check_floating("mem_pred", mem_pred)
        n = max(mem_pred.shape[-1], 1)
        error = self.ranker(mem_pred) / n - get_rank(mem_gt)
        loss = error.square().sum() / n
        if self.lbd > 0:
            loss = loss + self.lbd * (mem_pred - mem_gt).abs().sum() / n
        return loss.to(mem_pred.dtype)


class MapRankingLoss(_WithSorter):
    """The ranks of the positives over n, summed over positives and classes.

    Args:
        sorter_type: "exa", or a ranker of this library.
        seq_len: not used.
        sorter_state_dict: not used.

    >>> scores = torch.tensor([[3.0, 0.1], [2.0, 0.9], [1.0, 0.4]])
    >>> MapRankingLoss("exa")(scores, torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    tensor(1.0009)
    """

    def forward(
        self, output: Float[Tensor, "n classes"], target: Shaped[Tensor, "n classes"]
    ) -> Float[Tensor, ""]:
        """Return the loss of multi-label scores; classes without a positive count as zero."""
        return map_ranking_loss(output, target, ranker=self.ranker, reduction="sum")


class RankLoss(_WithSorter):
    """The ranks of the diagonal over n, summed, within rows and within columns.

    Args:
        sorter_type: "exa", or a ranker of this library.
        seq_len: not used.
        sorter_state_dict: not used.

    >>> RankLoss("exa")(torch.eye(3))
    tensor(2.0000)
    """

    def forward(self, scores: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
        """Return the loss of a score matrix with the positives on the diagonal."""
        return rank_loss(scores, ranker=self.ranker, reduction="sum")


class RankHardLoss(_WithSorter):
    """How far the ``nmax`` hardest negatives come within one rank of the diagonal, summed.

    As published, ``margin`` is kept but not used: the margin is ``1 / n``.
    :class:`rankgrad.losses.RankHardLoss` uses it.

    Args:
        sorter_type: "exa", or a ranker of this library.
        seq_len: not used.
        sorter_state_dict: not used.
        margin: not used.
        nmax: hardest negatives for each row and each column.

    >>> RankHardLoss("exa")(torch.eye(3)) < 0.1
    tensor(True)
    """

    def __init__(
        self,
        sorter_type: str | Callable[..., Tensor],
        seq_len: int | None = None,
        sorter_state_dict: dict[str, Any] | None = None,
        margin: float = 0.2,
        nmax: int = 1,
    ) -> None:
        super().__init__(sorter_type, seq_len, sorter_state_dict)
        self.margin = margin
        self.nmax = nmax

    def forward(self, scores: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
        """Return the loss of a score matrix with the positives on the diagonal."""
        return rank_hard_loss(
            scores,
            margin=1 / max(scores.shape[-1], 1),
            n_hardest=self.nmax,
            ranker=self.ranker,
            reduction="sum",
        )
