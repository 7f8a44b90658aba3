"""Hard ranks as a ranker: exact, without a gradient."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_choice
from rankgrad.rankers.base import Ranker
from rankgrad.ranks import TIES, rank

__all__ = ["Hard"]


@dataclass(frozen=True)
class Hard(Ranker):
    """The ranks themselves, by sorting: see :func:`rankgrad.rank`. No gradient flows.

    With this ranker a criterion on ranks is the metric.

    Args:
        ties: "ordinal" (in order of appearance), "average", "min", "max" or "dense".

    >>> import torch
    >>> Hard(ties="average")(torch.tensor([0.3, 0.9, 0.3]))
    tensor([2.5000, 1.0000, 2.5000])
    """

    ties: str = "ordinal"

    _minds_nan_and_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("ties", self.ties, TIES)

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        return rank(scores, ties=self.ties, mask=mask)
