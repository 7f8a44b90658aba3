"""Trains a sorter; an interrupted run goes on exactly where it was."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rankgrad.recipes.experiments.store import write_csv
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.runs import EventLog, claim, restore, save
from rankgrad.recipes.sorters.running import Progress, SorterRun
from rankgrad.recipes.sorters.settings import SorterSettings
from rankgrad.sorters import save_sorter

__all__ = ["TrainedSorter", "train_sorter"]

# What a run leaves in its folder
_FILES = ("settings.json", "state.pt", "history.csv", "sorter.safetensors", "tensorboard/events.*")


@dataclass(frozen=True)
class TrainedSorter:
    """What a run left behind."""

    path: Path
    error: float
    epochs: int
    seconds: float
    resumed_at: int


def train_sorter(
    settings: SorterSettings,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    fresh: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    command: str = "",
) -> TrainedSorter:
    """Train a sorter, or go on with its training, and write it to ``folder/sorter.safetensors``.

    L1 loss between the output and the true ranks over n, Adam, a learning rate halved every so
    many epochs; the best weights on validation sequences are kept. Also written: ``settings.json``,
    ``history.csv``, TensorBoard's event files if it is installed, and ``state.pt`` after every
    epoch, from which an interrupted run goes on. On the CPU with the same number of threads it
    then ends with the same weights, bit for bit, as one that was never interrupted.

    Args:
        settings: of the run.
        folder: new, empty, or that of the same run.
        device: where to train.
        fresh: start over in a folder that holds such a run.
        on_progress: called some times a second and after each epoch.
        command: what to write down as the command that made it.

    Raises:
        RunFolderError: the folder holds something else, or a run of other settings.
    """
    folder = Path(folder)
    claim(folder, "sorter", plain(settings), _FILES, fresh=fresh)
    run = SorterRun(settings, torch.device(device))
    state = folder / "state.pt"
    if state.exists():
        restore(state, run.device, run.take)
    resumed_at = run.epoch
    with EventLog(folder / "tensorboard", run.epoch) as events:
        while not run.finished:
            row = run.one_epoch(on_progress)
            if run.error == run.best_error:
                save_sorter(run.best_sorter(), folder / "sorter.safetensors", **run.about(command))
            save(run.state(), state)
            write_csv(folder / "history.csv", run.history)
            events.write(row)
    errors = run.errors()
    save_sorter(
        run.best_sorter(), folder / "sorter.safetensors", **run.about(command), errors=errors
    )
    return TrainedSorter(
        folder / "sorter.safetensors", run.best_error, run.epoch, run.seconds, resumed_at
    )
