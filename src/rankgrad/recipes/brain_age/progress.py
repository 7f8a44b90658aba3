"""How far a run is, and what ends it early."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DeadStartError", "DivergedError", "OnProgress", "Progress"]


class DivergedError(Exception):
    """The loss is no number any more."""


class DeadStartError(Exception):
    """The ReLU at the end of the first stage lets nothing through, and no gradient back."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is."""

    stage: int
    epoch: int
    epochs: int
    fraction: float
    loss: float
    mae: float
    """On the validation scans, in years; NaN before the first epoch is over."""
    best: float
    seconds: float
    """What is left of the stage if it is not stopped early, at the present speed."""


OnProgress = Callable[[Progress], None]
