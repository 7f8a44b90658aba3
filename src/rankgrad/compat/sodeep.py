"""SoDeep's losses, with its handcrafted sorter ``"exa"`` and its learned ones.

``from sodeep import SpearmanLoss`` becomes ``from rankgrad.compat.sodeep import SpearmanLoss``.
Names, arguments, values and gradients are the original's; ``"exa"`` needs memory linear in the
length instead of quadratic, checkpoints are read without running what is in them, and the weights
of a learned sorter are frozen in a loss.

Where the original breaks: rows of equal scores get the middle rank, batches without a positive
and empty ones a zero loss with a graph, ``"cnn"`` gets its weights, and the wrapper that updates a
sorter uses all the data it has collected.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_floating, check_positive
from rankgrad.compat._argsort import torch_argsort
from rankgrad.losses._module import hold_ranker
from rankgrad.losses._rows import real
from rankgrad.losses.crossmodal import rank_hard_loss, rank_loss
from rankgrad.losses.multilabel import map_ranking_loss
from rankgrad.rankers import LearnedRanker, Pairwise, Ranker
from rankgrad.sorters import ARCHITECTURES, READABLE, Sorter, make_sorter, read_checkpoint
from rankgrad.sorters import UpdatingWrapper as _UpdatingWrapper
from rankgrad.sorters.checkpoint import find_sorter

__all__ = [
    "MapRankingLoss",
    "RankHardLoss",
    "RankLoss",
    "SpearmanLoss",
    "UpdatingWrapper",
    "get_rank",
    "load_sorter",
    "model_loader",
]

_TYPES = ", ".join(repr(name) for name in ARCHITECTURES)


def load_sorter(checkpoint_path: str | Path) -> tuple[str, int | None, dict[str, Tensor]]:
    """Return what a checkpoint holds, in the order in which the losses take it.

    Args:
        checkpoint_path: a file of SoDeep's training script or of this library, or the name of a
            shipped sorter. No code of the file is run; see
            :func:`rankgrad.sorters.read_checkpoint`.

    Returns:
        ``(sorter_type, seq_len, sorter_state_dict)``.

    >>> criterion = SpearmanLoss(*load_sorter("set"))
    >>> criterion(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])) < 0.01
    tensor(True)
    """
    found = read_checkpoint(find_sorter(checkpoint_path))
    found.sorter()  # errors here rather than in a loss
    return found.architecture, found.length, dict(found.state)


def model_loader(
    model_type: str,
    seq_len: int | None = None,
    pretrained_state_dict: Mapping[str, Tensor] | None = None,
) -> Sorter:
    """Return a sorter by its short name, with these weights or untrained.

    >>> model_loader("mlp", 10)(torch.randn(2, 10)).shape
    torch.Size([2, 10])
    """
    if READABLE.get(model_type, model_type) not in ARCHITECTURES:
        raise ValueError(
            f"sorter_type must be one of {_TYPES} or a ranker of rankgrad, got {model_type!r}"
        )
    sorter = make_sorter(model_type, seq_len)
    if pretrained_state_dict is not None:
        sorter.load_state_dict(pretrained_state_dict)
    return sorter


class UpdatingWrapper(_UpdatingWrapper):
    """Collects the scores that come by in training, and tunes the sorter on them when asked.

    Under the published names; the class that it is one of says more.

    Args:
        sorter: a sorter of this library.
        lr_sorter: learning rate of its Adam.

    >>> wrapper = UpdatingWrapper(model_loader("grus"))
    >>> _ = wrapper(torch.randn(4, 10))
    >>> wrapper.update_sorter()
    >>> wrapper.get_loss_average() > 0
    True
    """

    def __init__(self, sorter: Sorter, lr_sorter: float = 0.00001) -> None:
        super().__init__(sorter, lr_sorter, batch_size=1)
        self.average_loss: list[float] = []

    @property
    def collected_data(self) -> list[Tensor]:
        """The scores of each call that was kept."""
        return list(self._kept)

    def update_sorter(self) -> None:
        """Tune the sorter on every sequence that was collected, one step each, and forget them."""
        self.average_loss += self.update()

    def save_data(self, path: str | Path) -> None:
        """Write the collected scores with ``torch.save``."""
        torch.save(self.collected_data, path)

    def get_loss_average(self, windows: int = 50) -> float:
        """Return the mean loss of the last ``windows`` steps; NaN before the first."""
        last = self.average_loss[-windows:]
        return sum(last) / len(last) if last else float("nan")


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
        sorter_state_dict: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if sorter_type == "exa":
            hold_ranker(self, Pairwise(steepness="auto"))
        elif isinstance(sorter_type, str):
            sorter = model_loader(sorter_type, seq_len, sorter_state_dict)
            hold_ranker(self, LearnedRanker(sorter, standardize=False))
        elif isinstance(sorter_type, Sorter):
            hold_ranker(self, LearnedRanker(sorter_type, standardize=False))
        elif callable(sorter_type):
            hold_ranker(self, sorter_type)
        else:
            raise ValueError(
                f"sorter_type must be one of {_TYPES} or a ranker of rankgrad, got {sorter_type!r}"
            )


class SpearmanLoss(_WithSorter):
    """Mean squared error of ranks over n, plus ``lbd`` times the mean absolute error.

    Args:
        sorter_type: "exa"; the name of a learned sorter; or a sorter or ranker of this library.
        seq_len: the length of its sequences.
        sorter_state_dict: its weights.
        lbd: weight of the L1 term, at least 0.

    >>> SpearmanLoss("exa")(torch.tensor([0.2, 0.1, 0.7]), torch.tensor([1.0, 2.0, 3.0]))
    tensor(0.0650)
    """

    def __init__(
        self,
        sorter_type: str | Callable[..., Tensor],
        seq_len: int | None = None,
        sorter_state_dict: Mapping[str, Tensor] | None = None,
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
        sorter_type: "exa"; the name of a learned sorter; or a sorter or ranker of this library.
        seq_len: the length of its sequences.
        sorter_state_dict: its weights.

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
        sorter_type: "exa"; the name of a learned sorter; or a sorter or ranker of this library.
        seq_len: the length of its sequences.
        sorter_state_dict: its weights.

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
        sorter_type: "exa"; the name of a learned sorter; or a sorter or ranker of this library.
        seq_len: the length of its sequences.
        sorter_state_dict: its weights.
        margin: not used.
        nmax: hardest negatives for each row and each column.

    >>> RankHardLoss("exa")(torch.eye(3)) < 0.1
    tensor(True)
    """

    def __init__(
        self,
        sorter_type: str | Callable[..., Tensor],
        seq_len: int | None = None,
        sorter_state_dict: Mapping[str, Tensor] | None = None,
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
