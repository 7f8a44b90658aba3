"""One line an epoch, for logs and other places without a terminal."""

from collections.abc import Callable

import lightning as L
from lightning.pytorch.callbacks import Callback

from rankgrad.recipes.regression.module import MONITOR

__all__ = ["EpochLines"]


class EpochLines(Callback):
    """Says after each epoch how far training is.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say it; validation of the epoch is over by now."""
        if not trainer.is_global_zero:
            return
        values = trainer.callback_metrics
        parts = [
            f"{name.removeprefix('train_')} {float(value):.4g}"
            for name, value in values.items()
            if name.startswith("train_") and name != "train_loss"
        ]
        error = float(values[MONITOR]) if MONITOR in values else float("nan")
        self.say(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: "
            f"balanced validation MAE {error:.4g}; {', '.join(parts)}"
        )
