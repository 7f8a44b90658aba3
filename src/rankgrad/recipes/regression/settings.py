"""What all methods of a study share."""

from dataclasses import dataclass, field

from rankgrad.recipes.regression.loading import DataSettings

__all__ = ["RegressionSettings"]


@dataclass(frozen=True)
class RegressionSettings:
    """What all methods of a study share.

    ``schedule`` is "one-cycle", "cosine", "constant" or "steps:60,80", which divides the learning
    rate by ten at these epochs. ``select`` says which model is tested: that of the "best" epoch,
    by the label-balanced validation error, or the "last".
    """

    data: DataSettings = field(default_factory=DataSettings)
    model: str = "auto"
    head: str | None = None
    epochs: int = 60
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    schedule: str = "one-cycle"
    clip_norm: float | None = None
    scale_labels: bool = True
    select: str = "best"
    # Stop after so many epochs without a better one; 0 never does
    patience: int = 0
