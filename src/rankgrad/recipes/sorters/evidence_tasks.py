"""Three small tasks on real data that comes with scikit-learn, each judged by a rank metric."""

from abc import ABC, abstractmethod
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankgrad.losses import map_ranking_loss, rank_loss, spearman_loss
from rankgrad.metrics import mean_average_precision, recall_at_k, spearman
from rankgrad.rankers import Ranker

__all__ = ["TASKS", "Task"]


class Task(ABC):
    """Data in three parts, a model, a plain loss, a rank loss and the metric that counts.

    Args:
        seed: of the split.
    """

    metric: ClassVar[str]

    def __init__(self, seed: int) -> None:
        inputs, targets = self._data()
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(inputs)))
        inputs, targets = inputs[order], targets[order]
        ends = self._ends(len(inputs))
        mean, std = inputs[: ends[0]].mean(0), inputs[: ends[0]].std(0)
        inputs = (inputs - mean) / std.clamp(min=1e-3)
        parts = zip(inputs.tensor_split(ends), targets.tensor_split(ends), strict=True)
        self.train, self.val, self.test = parts

    @abstractmethod
    def _data(self) -> tuple[Tensor, Tensor]:
        """Return all inputs and targets."""

    def _ends(self, n: int) -> list[int]:
        return [n // 2, n * 3 // 4]

    @abstractmethod
    def model(self) -> nn.Module:
        """Return an untrained model, from inputs to what the losses take."""

    @abstractmethod
    def plain(self, out: Tensor, targets: Tensor) -> Tensor:
        """The usual loss."""

    @abstractmethod
    def ranked(self, out: Tensor, targets: Tensor, ranker: Ranker) -> Tensor:
        """The rank loss."""

    @abstractmethod
    def score(self, out: Tensor, targets: Tensor) -> float:
        """The metric; larger is better."""


class Regression(Task):
    """Disease progression of 442 patients from ten measurements; Spearman's correlation."""

    metric = "Spearman"

    def _data(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_diabetes

        x, y = load_diabetes(return_X_y=True)
        return _tensor(x), _tensor((y - y.mean()) / y.std())

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))

    def plain(self, out: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(out, targets)

    def ranked(self, out: Tensor, targets: Tensor, ranker: Ranker) -> Tensor:
        return spearman_loss(out, targets, ranker=ranker)

    def score(self, out: Tensor, targets: Tensor) -> float:
        return spearman(out, targets).item()


# Which of the seven bars of a digital display a digit lights.
_BARS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


class MultiLabel(Task):
    """Seven properties of 1,797 handwritten digits at once, from 80 of them; mAP.

    The labels are the bars that a digital display would light for the digit.
    """

    metric = "mAP"

    def _data(self) -> tuple[Tensor, Tensor]:
        images, digits = _digits()
        bars = torch.tensor([[float(bar in lit) for bar in "abcdefg"] for lit in _BARS])
        return images, bars[digits]

    def _ends(self, n: int) -> list[int]:
        return [80, 500]

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 7))

    def plain(self, out: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, targets)

    def ranked(self, out: Tensor, targets: Tensor, ranker: Ranker) -> Tensor:
        return map_ranking_loss(out, targets, ranker=ranker)

    def score(self, out: Tensor, targets: Tensor) -> float:
        return mean_average_precision(out, targets, dim=0).item()


class Retrieval(Task):
    """The lower half of a handwritten digit, found by its upper half; recall at 10, both ways."""

    metric = "recall@10"

    def _data(self) -> tuple[Tensor, Tensor]:
        images, _ = _digits()
        return images, torch.arange(len(images))

    def model(self) -> nn.Module:
        return _TwoTowers()

    def plain(self, out: Tensor, targets: Tensor) -> Tensor:
        place = torch.arange(len(out))
        return F.cross_entropy(out * 10, place) + F.cross_entropy(out.T * 10, place)

    def ranked(self, out: Tensor, targets: Tensor, ranker: Ranker) -> Tensor:
        return rank_loss(out, ranker=ranker)

    def score(self, out: Tensor, targets: Tensor) -> float:
        right = torch.eye(len(out), dtype=torch.bool)
        ways = [recall_at_k(scores, right, 10).item() for scores in (out, out.T)]
        return sum(ways) / 2


class _TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the cosine of every upper half with every lower half."""
        halves = images.tensor_split(2, dim=1)
        upper, lower = (
            F.normalize(tower(x), dim=-1) for tower, x in zip(self.towers, halves, strict=True)
        )
        return upper @ lower.T


TASKS: dict[str, type[Task]] = {
    "regression": Regression,
    "multi-label": MultiLabel,
    "retrieval": Retrieval,
}


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    return _tensor(images) / 16, torch.from_numpy(digits)


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
