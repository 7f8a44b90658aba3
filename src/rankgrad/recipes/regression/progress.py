"""How far a run with Lightning is, over all its stages."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from rankgrad.recipes.regression.module import MONITOR, RegressionModule
from rankgrad.recipes.regression.stages import Stage

__all__ = ["Progress", "ProgressCallback"]


@dataclass(frozen=True)
class Progress:
    """How far a run is; see :class:`rankgrad.recipes.display.EpochProgress`."""

    stage: str
    epoch: int
    epochs: int
    fraction: float
    seconds: float
    error: float
    """Balanced over the labels, on validation, of the last epoch; NaN where there is none."""
    losses: dict[str, float]
    """The parts of the training loss in the last epoch."""

    def __str__(self) -> str:
        losses = ", ".join(f"{name} {value:.4g}" for name, value in self.losses.items())
        if math.isnan(self.error):
            return f"{self.stage}: {losses}"
        return f"balanced validation MAE {self.error:.4g}; {losses}"


class ProgressCallback(Callback):
    """Tells how far the run is, after each batch and each epoch.

    Args:
        tell: is told.
    """

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self.tell = tell
        # When it began to watch, and how far the run was by then
        self.began: tuple[float, float] | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        if self.began is None:
            stage = _stage(pl_module)
            self.began = time.monotonic(), (stage.first + trainer.current_epoch) / stage.total

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell how far the epoch is."""
        self._tell(trainer, pl_module, (batch_idx + 1) / max(int(trainer.num_training_batches), 1))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell that the epoch is over; its validation is, too."""
        self._tell(trainer, pl_module, 1.0, finished=1)

    def _tell(
        self, trainer: L.Trainer, module: L.LightningModule, part: float, finished: int = 0
    ) -> None:
        if not trainer.is_global_zero:
            return
        stage = _stage(module)
        epoch = stage.first + trainer.current_epoch
        fraction = (epoch + part) / stage.total
        start, from_fraction = self.began or (time.monotonic(), fraction)
        speed = (time.monotonic() - start) / max(fraction - from_fraction, 1e-9)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.tell(
            Progress(
                stage.name,
                epoch + finished,
                stage.total,
                fraction,
                (1.0 - fraction) * speed,
                values.get(MONITOR, math.nan),
                {
                    name.removeprefix("train_"): value
                    for name, value in values.items()
                    if name.startswith("train_") and name != "train_loss"
                },
            )
        )


def _stage(module: L.LightningModule) -> Stage:
    assert isinstance(module, RegressionModule)
    return module.stage
