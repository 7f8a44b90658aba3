"""What a recipe for regression knows of its data: inputs, targets, three parts, label bins."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from rankgrad.imbalance import label_bins

__all__ = [
    "Batch",
    "DataError",
    "LabelBins",
    "RegressionData",
    "Samples",
    "TensorSamples",
    "bins_for",
]


class DataError(Exception):
    """The data cannot be used; the message says what is wrong, row by row where it can."""


@dataclass(frozen=True)
class LabelBins:
    """How labels are counted: ``num`` bins of one width, from ``low`` on."""

    num: int
    low: float = 0.0
    width: float = 1.0

    def index(self, targets: Shaped[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Return the bin of each label; see :func:`rankgrad.imbalance.label_bins`."""
        return label_bins(targets, self.num, low=self.low, width=self.width)

    def count(self, targets: Shaped[Tensor, " n"]) -> Int64[Tensor, " bins"]:
        """Return how many labels lie in each bin."""
        return torch.bincount(self.index(targets), minlength=self.num)

    def positions(self) -> Float[Tensor, " bins"]:
        """Return where bins stand on an axis: a bin of width 1 at its label, others centred."""
        offset = 0.0 if self.width == 1 else self.width / 2
        return torch.arange(self.num) * self.width + (self.low + offset)


def bins_for(targets: Float[Tensor, " n"]) -> LabelBins:
    """Return bins that suit the labels: of width 1 for small integers, else some fifty.

    >>> bins_for(torch.tensor([3.0, 80.0]))
    LabelBins(num=78, low=3.0, width=1.0)
    >>> bins_for(torch.tensor([326.0, 18823.0]))
    LabelBins(num=48, low=0.0, width=400.0)
    """
    low, high = float(targets.min()), float(targets.max())
    if bool((targets == targets.round()).all()) and high - low < 200:
        return LabelBins(int(high - low) + 1, low, 1.0)
    rough = (high - low) / 50 or 1.0
    scale = 10.0 ** math.floor(math.log10(rough))
    width = next(step * scale for step in (1.0, 2.0, 4.0, 5.0, 10.0) if step * scale >= rough)
    start = math.floor(low / width) * width
    return LabelBins(int((high - start) / width) + 1, start, width)


class Batch(NamedTuple):
    """Some samples; ``inputs`` is what the model takes."""

    inputs: Any
    targets: Float[Tensor, " n"]
    rows: Int64[Tensor, " n"]


class Samples(ABC):
    """One part of the data; ``augment``: inputs are drawn at random whenever they are asked for."""

    targets: Float[Tensor, " n"]
    augment: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def inputs(self, index: Int64[Tensor, " n"]) -> Any:
        """Return the inputs of these samples, in one batch."""

    def batch(self, index: Sequence[int] | Tensor, views: int = 1) -> Batch:
        """Return these samples, so many times over where inputs are drawn at random."""
        index = torch.as_tensor(index)
        if self.augment:
            index = index.repeat(views)
        return Batch(self.inputs(index), self.targets[index], index)


class TensorSamples(Samples):
    """Samples whose inputs fit into one tensor."""

    def __init__(self, inputs: Shaped[Tensor, "n *shape"], targets: Float[Tensor, " n"]) -> None:
        self.tensor = inputs
        self.targets = targets

    def inputs(self, index: Int64[Tensor, " n"]) -> Tensor:
        """Return rows of the tensor."""
        return self.tensor[index]


@dataclass(frozen=True)
class RegressionData:
    """Three parts of one data set.

    ``kind`` says which models fit: "image", "features", "pairs" or "embedded-pairs". ``regions``
    names the region of each label bin where its makers published them; otherwise the counts decide.
    ``vectors`` are the word vectors of "pairs". ``notes`` is what people should know before
    training.
    """

    kind: str
    train: Samples
    val: Samples
    test: Samples
    bins: LabelBins
    regions: tuple[str, ...] | None = None
    vectors: Float[Tensor, "words dims"] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("train", "val", "test"):
            if len(getattr(self, name)) == 0:
                raise DataError(f"the {name} part has no samples")
        if not bool((self.train.targets != self.train.targets[0]).any()):
            raise DataError("all training labels are equal: there is nothing to learn")

    @property
    def train_counts(self) -> Int64[Tensor, " bins"]:
        """How many training samples each label bin has."""
        return self.bins.count(self.train.targets)
