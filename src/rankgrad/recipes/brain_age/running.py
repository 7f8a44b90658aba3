"""Training runs in folders: an interrupted one goes on exactly where it was."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from rankgrad.data.nifti import Problem, ScanDataset, Scans
from rankgrad.recipes.brain_age.bias import AgeBias, fit_age_bias
from rankgrad.recipes.brain_age.many_workers import group_of_workers
from rankgrad.recipes.brain_age.model import BrainAgeModel
from rankgrad.recipes.brain_age.progress import OnProgress
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.recipes.brain_age.training import StageTrainer
from rankgrad.recipes.experiments.environment import environment
from rankgrad.recipes.experiments.store import write_csv
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.runs import BROKEN, EventLog, claim, restore, save

__all__ = ["BrainAge", "Parts", "load_brain_age", "open_parts", "train_brain_age"]

SHAPE = ("filters", "blocks", "sex")
_RESULTS = ("brain_age.pt", "predictions.csv", "test.json", "skipped.txt", "report.html")


@dataclass(frozen=True)
class BrainAge:
    """A trained model and what has to be known to use it."""

    model: BrainAgeModel
    settings: BrainAgeSettings
    bias: AgeBias
    """Of the last stage, fitted on the validation scans."""
    about: dict[str, Any]
    resumed_at: int = 0
    """Epochs that the last stage had behind it when the run went on."""


@dataclass(frozen=True)
class Parts:
    """The scans of each split as data sets, checked, and what was left out."""

    train: ScanDataset
    validation: ScanDataset
    test: ScanDataset
    skipped: tuple[Problem, ...]


def open_parts(
    scans: Scans,
    settings: BrainAgeSettings,
    *,
    cache: Path | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Read every volume once, so that a bad one is found now and not at night.

    Args:
        scans: what was found.
        settings: of the run.
        cache: a folder for prepared volumes.
        strict: refuse scans that cannot be used instead of leaving them out.
        progress: is told how many volumes are done, of how many.

    Raises:
        DataError: nothing usable is left of a split, or ``strict``.
    """
    total, before = len(scans.all), 0
    sets, skipped = [], list(scans.problems)
    for split in (scans.train, scans.validation, scans.test):
        data = ScanDataset(
            split, settings.size, spacing=settings.spacing, cache=cache, strict=strict,
            augment=settings.augment and split is scans.train,
        )  # fmt: skip

        def tell(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        skipped += data.prepare(tell)
        before += len(split)
        sets.append(data)
    return Parts(sets[0], sets[1], sets[2], tuple(skipped))


def train_brain_age(
    settings: BrainAgeSettings,
    parts: Parts,
    folder: str | Path,
    *,
    stages: Sequence[int] = (1, 2),
    data: str = "phantoms",
    first: str | Path | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    fresh: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> BrainAge:
    """Train one stage or both, or go on with it, and write them to ``folder/brain_age.pt``.

    Each stage keeps the weights with the best validation MAE, and a line for the age-bias
    correction is fitted on the validation scans. Also written: ``settings.json``, ``skipped.txt``
    if a scan was left out, and for each stage ``history.csv``, TensorBoard's event files if it is
    installed, and ``state.pt`` after every epoch, from which an interrupted run goes on. On the CPU
    with the same number of threads and loader processes it then ends with the same weights, bit
    for bit, as one that was never interrupted.

    Args:
        settings: of the run.
        parts: the data.
        folder: new, empty, or that of the same run. Stages may be trained one call after another.
        stages: which; the second needs the first, from this folder or from ``first``.
        data: what to call the data in the files.
        first: the ``brain_age.pt`` of another run, for the first stage.
        device: where to train.
        workers: processes that read scans.
        fresh: start over in a folder that holds such a run; the second stage alone if only it is
            to be trained.
        on_progress: called some times a second and after each epoch.

    Raises:
        RunFolderError: the folder holds something else, or a run of other settings.
        DeadStartError: the first stage answers 0 whatever it sees.
        DivergedError: the loss became infinite or NaN.
        ValueError: the second stage has no first one to start from, or that is of another shape.
    """
    folder = Path(folder)
    if first is not None and 2 not in stages:
        raise ValueError("first is for the second stage, which is not to be trained")
    chief = group_of_workers() is None or dist.get_rank() == 0
    if chief:
        # The second stage may start over without the first, not the other way round.
        anew = [f"stage{n}" for n in (1, 2) if n >= min(stages)]
        ours = [*_RESULTS, *(f"{n}/{part}" for n in anew for part in ("*", "tensorboard/*"))]
        claim(folder, "brain-age model", {**plain(settings), "data": data}, ours, fresh=fresh)
        (folder / "skipped.txt").unlink(missing_ok=True)
        if parts.skipped:
            text = "".join(f"{problem}\n" for problem in parts.skipped)
            (folder / "skipped.txt").write_text(text, encoding="utf-8")
    _wait_for_all()
    start = None if first is None else _first_weights(Path(first), settings)
    found: dict[str, dict[str, Tensor]] = {}
    about: dict[str, Any] = {"data": data, "versions": environment(), "stages": {}}
    result: tuple[BrainAgeModel, AgeBias, int] | None = None
    for stage in (1, 2):
        here = folder / f"stage{stage}"
        if stage == 1 and start is not None:
            found["first"] = start
            continue
        if stage not in stages and (stage == 2 or not (here / "state.pt").exists()):
            if stage == 1:
                raise ValueError(
                    f"the second stage needs the first, and {folder} has none: train it there "
                    "(--stage 1, or both), or name the brain_age.pt of another run (--first)"
                )
            continue
        trainer = StageTrainer(
            settings, stage, parts.train, parts.validation, device,
            first=found.get("first"), workers=workers,
        )  # fmt: skip
        if (here / "state.pt").exists():
            restore(here / "state.pt", trainer.device, trainer.restore)
        if stage not in stages and not trainer.finished:
            raise ValueError(
                f"the first stage in {folder} is not finished: train it (--stage both)"
            )
        resumed_at = trainer.epoch
        _run(trainer, here, chief, on_progress)
        model = trainer.finish()
        found["first" if stage == 1 else "second"] = _on_cpu(trainer.trained.state_dict())
        ages = trainer.predict(parts.validation)[:, -1]
        result = model, fit_age_bias(ages, parts.validation.ages.numpy()), resumed_at
        about["stages"][str(stage)] = {
            "epochs": trainer.epoch, "seconds": round(trainer.seconds, 1),
            "validation MAE": trainer.best_mae,
        }  # fmt: skip
    assert result is not None
    model, bias, resumed_at = result
    about |= {"settings": plain(settings), "bias": asdict(bias)}
    if chief:
        save({**found, "about": json.dumps(about)}, folder / "brain_age.pt")
    _wait_for_all()
    return BrainAge(model, settings, bias, about, resumed_at)


def _run(trainer: StageTrainer, folder: Path, chief: bool, on_progress: OnProgress) -> None:
    if not chief:
        while not trainer.finished:
            trainer.one_epoch()
        return
    folder.mkdir(exist_ok=True)
    with EventLog(folder / "tensorboard", trainer.epoch) as events:
        while not trainer.finished:
            row = trainer.one_epoch(on_progress)
            save(trainer.state(), folder / "state.pt")
            write_csv(folder / "history.csv", trainer.history)
            events.write(row)
            on_progress(trainer.progress)


def load_brain_age(path: str | Path) -> BrainAge:
    """Return a trained model, on the CPU and in evaluation mode. No code of the file is run.

    Raises:
        ValueError: the file is not a model of this recipe.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        given = about["settings"]
        settings = BrainAgeSettings(**{**given, "size": tuple(given["size"])})
        model = BrainAgeModel(settings, second="second" in content)
        model.first.load_state_dict(content["first"])
        if model.second is not None:
            model.second.load_state_dict(content["second"])
        line = {k: math.nan if v is None else v for k, v in about["bias"].items()}
        bias = AgeBias(float(line["slope"]), float(line["intercept"]), int(line["scans"]))
    except BROKEN as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise ValueError(f"{path} is not a brain-age model of rankgrad ({first})") from None
    return BrainAge(model.eval(), settings, bias, about)


def _first_weights(path: Path, settings: BrainAgeSettings) -> dict[str, Tensor]:
    other = load_brain_age(path)
    changed = {k: getattr(settings, k) for k in SHAPE}
    if replace(other.settings, **changed) != other.settings:
        shape = ", ".join(f"{k} {getattr(other.settings, k)}" for k in SHAPE)
        wanted = ", ".join(f"{k} {v}" for k, v in changed.items())
        raise ValueError(f"{path} is of another shape: {shape}; the run has {wanted}")
    return other.model.first.state_dict()


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: entry.detach().cpu().clone() for name, entry in state.items()}


def _wait_for_all() -> None:
    if group_of_workers() is not None:
        dist.barrier()
