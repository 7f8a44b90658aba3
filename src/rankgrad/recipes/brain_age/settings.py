"""What a training run for brain age depends on."""

from dataclasses import dataclass

from rankgrad.checks import check_choice, check_positive
from rankgrad.recipes.brain_age.networks import smallest_size
from rankgrad.recipes.brain_age.objective import BASES

__all__ = ["OPTIMIZERS", "PRECISIONS", "PRESETS", "STARTS", "BrainAgeSettings"]

OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "bfloat16", "float16")
STARTS = ("mean", "zero")


@dataclass(frozen=True)
class BrainAgeSettings:
    """Settings of both stages, the published ones by default; the data apart.

    Raises:
        TypeError: a number is none.
        ValueError: a setting is out of its range, or does not fit another.
    """

    filters: int = 8
    blocks: int = 5
    size: tuple[int, int, int] = (91, 109, 91)
    """Of the volumes, in voxels."""
    spacing: float | None = 2.0
    """Of the voxels, in mm; None takes the files as they are."""
    sex: bool = True
    """Whether it is an input."""
    augment: bool = True
    """Flips, shifts and rotations of the training volumes."""
    loss: str = "mse"
    weight: float = 10.0
    """Of the ranking terms (lambda)."""
    beta: float = 1.0
    """Of the differences beside the ranks."""
    ranker: str = "sodeep"
    """The name of a ranker, or the file of a sorter."""
    epochs: int = 150
    batch_size: int = 32
    """Scans whose ranks are compared, those of all workers together."""
    accumulate: int = 1
    """Parts that a batch goes through the network in; its loss remains that of the whole."""
    optimizer: str = "adam"
    """Of the first stage: Adam with AMSGrad, or SGD without momentum."""
    lr: float = 1e-3
    second_optimizer: str = "sgd"
    second_lr: float = 1e-5
    weight_decay: float = 5e-4
    lr_patience: int = 5
    """Epochs without a better validation MAE until the learning rate is halved."""
    patience: int = 20
    """Epochs without a better validation MAE until training stops."""
    age_step: float = 5.0
    """The second stage starts from the first one's age, rounded to this."""
    start: str = "mean"
    """The first stage's last bias: "mean" is the mean training age, "zero" is as published."""
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, BASES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("second_optimizer", self.second_optimizer, OPTIMIZERS)
        check_choice("start", self.start, STARTS)
        check_choice("precision", self.precision, PRECISIONS)
        for name in ("filters", "blocks", "epochs", "batch_size", "accumulate", "lr", "second_lr"):
            check_positive(name, getattr(self, name))
        for name in ("patience", "age_step"):
            check_positive(name, getattr(self, name))
        for name in ("weight", "beta", "weight_decay", "lr_patience"):
            check_positive(name, getattr(self, name), zero_allowed=True)
        if self.spacing is not None:
            check_positive("spacing", self.spacing)
        least = smallest_size(self.blocks)
        if len(self.size) != 3 or min(self.size) < least:
            shape = " x ".join(map(str, self.size))
            raise ValueError(
                f"size must be three sides of at least {least} voxels for {self.blocks} blocks, "
                f"got {shape}; take fewer blocks or larger volumes"
            )
        if self.batch_size == 1 and self.weight > 0:
            raise ValueError(
                "batch_size must be at least 2: the rank of a single scan says nothing; "
                "or take weight 0, which leaves the ranking terms out"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate must be at most batch_size, {self.batch_size}, got {self.accumulate}"
            )


PRESETS = {
    "published": BrainAgeSettings(),
    "small": BrainAgeSettings(
        filters=4,
        blocks=3,
        size=(24, 28, 24),
        epochs=20,
        batch_size=16,
        lr_patience=2,
        patience=10,
        second_optimizer="adam",
        second_lr=1e-3,
    ),
}
"""What the options start from: all as published, or a network for small volumes and two cores."""
