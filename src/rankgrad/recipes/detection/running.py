"""Training runs in folders: an interrupted one goes on exactly where it was."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rankgrad.recipes.detection.models import build_detector
from rankgrad.recipes.detection.settings import DetectionSettings
from rankgrad.recipes.detection.splits import Splits
from rankgrad.recipes.detection.training import OnProgress, Trainer
from rankgrad.recipes.experiments.store import write_csv
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.runs import BROKEN, EventLog, claim, restore, save

__all__ = ["TrainedDetector", "load_detector", "train_detector"]


# What a run leaves in its folder
_FILES = (
    "settings.json",
    "state.pt",
    "history.csv",
    "detector.pt",
    "annotations.txt",
    "tensorboard/events.*",
)


@dataclass(frozen=True)
class TrainedDetector:
    """What a run left behind."""

    path: Path
    model: nn.Module
    ap: float
    epochs: int
    seconds: float
    resumed_at: int


def train_detector(
    settings: DetectionSettings,
    splits: Splits,
    folder: str | Path,
    *,
    data: str = "digit scenes",
    device: torch.device | str = "cpu",
    fresh: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> TrainedDetector:
    """Train a detector, or go on with its training, and write it to ``folder/detector.pt``.

    AdamW, a warm-up and half a cosine; the weights with the best validation AP are kept, and the
    scores of a model with a ranking or focal loss calibrated on the validation images. Also
    written: ``settings.json``, ``history.csv``, ``annotations.txt`` if anything is wrong with
    them, TensorBoard's event files if it is installed, and ``state.pt`` after every epoch, from
    which an interrupted run goes on. On the CPU with the same number of threads it then ends with
    the same weights, bit for bit, as one that was never interrupted.

    Args:
        settings: of the run.
        splits: the data.
        folder: new, empty, or that of the same run.
        data: what to call the data in the files.
        device: where to train.
        fresh: start over in a folder that holds such a run.
        on_progress: called some times a second and after each epoch.

    Raises:
        RunFolderError: the folder holds something else, or a run of other settings.
        DivergedError: the loss became infinite or NaN.
    """
    folder = Path(folder)
    claim(folder, "detector", {**plain(settings), "data": data}, _FILES, fresh=fresh)
    if splits.problems:
        text = "".join(f"{problem}\n" for problem in splits.problems)
        (folder / "annotations.txt").write_text(text, encoding="utf-8")
    trainer = Trainer(settings, splits, device)
    state = folder / "state.pt"
    if state.exists():
        restore(state, trainer.device, trainer.restore)
    resumed_at = trainer.epoch
    with EventLog(folder / "tensorboard", trainer.epoch) as events:
        while not trainer.finished:
            row = trainer.one_epoch(on_progress)
            save(trainer.state(), state)
            write_csv(folder / "history.csv", trainer.history)
            events.write(row)
            on_progress(trainer.progress)
    model = trainer.finish()
    path = folder / "detector.pt"
    about = {"settings": plain(settings), "categories": list(splits.categories), "data": data}
    save({"model": model.state_dict(), "about": json.dumps(about)}, path)
    return TrainedDetector(path, model, trainer.best_ap, trainer.epoch, trainer.seconds, resumed_at)


def load_detector(path: str | Path) -> tuple[nn.Module, DetectionSettings, tuple[str, ...]]:
    """Return a trained detector, its settings and its categories.

    Raises:
        ValueError: the file is not a detector of this recipe.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        settings = DetectionSettings(**about["settings"])
        model = build_detector(settings, len(about["categories"]) + 1, epoch_steps=1)
        model.load_state_dict(content["model"])
    except BROKEN as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise ValueError(f"{path} is not a detector of rankgrad ({first})") from None
    return model.eval(), settings, tuple(about["categories"])
