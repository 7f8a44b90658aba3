"""Losses and stages compared on the same phantoms, or scans, and seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from rankgrad.data.nifti import Scan, ScanDataset, Scans, read_scans, write_phantoms
from rankgrad.recipes.brain_age.bias import fit_age_bias
from rankgrad.recipes.brain_age.evaluation import age_metrics, all_pairs, discordant
from rankgrad.recipes.brain_age.progress import DivergedError
from rankgrad.recipes.brain_age.running import Parts, open_parts
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.recipes.brain_age.training import StageTrainer
from rankgrad.recipes.experiments.store import RunStore
from rankgrad.recipes.experiments.study import Outcome, Report, Study, slug
from rankgrad.recipes.runs import resumed, save

__all__ = [
    "LOSSES",
    "SECOND",
    "ComparisonSettings",
    "LongerMethod",
    "LossMethod",
    "SecondMethod",
    "first_study",
    "longer_study",
    "open_data",
    "second_study",
]

SEED = 0  # of the phantoms


@dataclass(frozen=True)
class ComparisonSettings:
    """What all runs share. ``run`` holds loss and seed only as placeholders."""

    run: BrainAgeSettings
    folder: str
    """Of the study: phantoms and prepared volumes are kept there, and the first stages' weights."""
    images: str | None = None
    table: str | None = None
    phantoms: tuple[int, int, int] = (200, 60, 140)
    """For training, validation and test, where there are no scans."""


@dataclass(frozen=True)
class LossMethod:
    """What the first stages differ in."""

    name: str
    loss: str
    weight: float
    beta: float


LOSSES = (
    LossMethod("MSE", "mse", 0.0, 0.0),
    LossMethod("MSE + 10 ranks", "mse", 10.0, 0.0),
    LossMethod("MSE + 300 ranks", "mse", 300.0, 0.0),
    LossMethod("MSE + 10 (ranks + differences)", "mse", 10.0, 1.0),
)
"""The last is the published loss; the ranks alone need a larger weight to be felt at all."""

SECOND = (LOSSES[0], LOSSES[-1])
"""On which second stages are tried."""


@dataclass(frozen=True)
class SecondMethod:
    """A second stage on top of the first one of ``first``, trained with the same loss."""

    name: str
    first: LossMethod
    optimizer: str
    lr: float


@dataclass(frozen=True)
class LongerMethod:
    """A first stage alone, in as many epochs as both stages have together."""

    name: str
    first: LossMethod


def first_study(settings: ComparisonSettings, seeds: int, losses: Sequence[LossMethod]) -> Study:
    """Return the study of first stages."""
    return _study("brain-age", settings, losses, seeds, train_first)


def second_study(settings: ComparisonSettings, seeds: int, losses: Sequence[LossMethod]) -> Study:
    """Return the study of second stages; those of :func:`first_study` must be there.

    Each with Adam at the rate of the first stage, and as published with SGD at 1e-5.
    """
    methods = [
        SecondMethod(f"{first.name}, second stage {words}", first, optimizer, lr)
        for first in losses
        for words, optimizer, lr in (("Adam", "adam", settings.run.lr), ("SGD", "sgd", 1e-5))
    ]
    return _study("brain-age-second", settings, methods, seeds, train_second)


def longer_study(settings: ComparisonSettings, seeds: int, losses: Sequence[LossMethod]) -> Study:
    """Return the study that tells a second stage from more training."""
    methods = [LongerMethod(f"{first.name}, twice the epochs", first) for first in losses]
    return _study("brain-age-longer", settings, methods, seeds, train_longer)


def _study(
    name: str,
    settings: ComparisonSettings,
    methods: Sequence[LossMethod] | Sequence[SecondMethod] | Sequence[LongerMethod],
    seeds: int,
    train: Callable[..., Outcome],
) -> Study:
    # Without what the methods set, so that it does not seem to differ.
    run = replace(settings.run, loss="mse", weight=0.0, beta=0.0, seed=0)
    shared, every = replace(settings, run=run), tuple(range(seeds))
    return Study(name, shared, tuple(methods), every, train, resumable=True)


def open_data(settings: ComparisonSettings) -> tuple[Scans, Parts]:
    """Return the scans, or phantoms, and the data sets made of them.

    Raises:
        DataError: they cannot be used.
    """
    need_sex, folder = settings.run.sex, Path(settings.folder)
    if settings.images is not None and settings.table is not None:
        scans = read_scans(settings.images, settings.table, need_sex=need_sex)
    else:
        scans = _phantoms(settings, folder / "phantoms")
    return scans, open_parts(scans, settings.run, cache=folder / "cache")


def _phantoms(settings: ComparisonSettings, folder: Path) -> Scans:
    """The first ones train, the next validate, the last are the test."""
    train, validation, test = settings.phantoms
    table = write_phantoms(folder, train + validation + test, settings.run.size, SEED, splits=False)
    found = read_scans(folder / "images", table, need_sex=settings.run.sex)
    every: list[Scan] = sorted(found.all, key=lambda scan: scan.name)
    return Scans(
        train=tuple(every[:train]),
        validation=tuple(every[train : train + validation]),
        test=tuple(every[train + validation :]),
    )


@lru_cache(maxsize=1)
def _parts(settings: ComparisonSettings) -> Parts:
    return open_data(settings)[1]


def _run_settings(settings: ComparisonSettings, method: LossMethod, seed: int) -> BrainAgeSettings:
    return replace(
        settings.run, loss=method.loss, weight=method.weight, beta=method.beta, seed=seed
    )


def train_first(
    settings: ComparisonSettings,
    method: LossMethod,
    seed: int,
    report: Report,
    state: Path | None = None,
) -> Outcome:
    """Train and test a first stage."""
    parts = _parts(settings)
    run = _run_settings(settings, method, seed)
    return _outcome(
        lambda: StageTrainer(run, 1, parts.train, parts.validation), parts.test, report, state
    )


def train_longer(
    settings: ComparisonSettings,
    method: LongerMethod,
    seed: int,
    report: Report,
    state: Path | None = None,
) -> Outcome:
    """Train and test a first stage in twice the epochs."""
    parts = _parts(settings)
    run = _run_settings(settings, method.first, seed)
    run = replace(run, epochs=2 * run.epochs)
    return _outcome(
        lambda: StageTrainer(run, 1, parts.train, parts.validation), parts.test, report, state
    )


def train_second(
    settings: ComparisonSettings,
    method: SecondMethod,
    seed: int,
    report: Report,
    state: Path | None = None,
) -> Outcome:
    """Train and test a second stage on top of a stored first one."""
    parts = _parts(settings)
    run = _run_settings(settings, method.first, seed)
    run = replace(run, second_optimizer=method.optimizer, second_lr=method.lr)
    folder = RunStore(settings.folder).runs / slug(method.first.name) / f"seed-{seed}"
    first = torch.load(folder / "model.pt", weights_only=True)
    return _outcome(
        lambda: StageTrainer(run, 2, parts.train, parts.validation, first=first),
        parts.test,
        report,
        state,
    )


def _outcome(
    make: Callable[[], StageTrainer], test: ScanDataset, report: Report, state: Path | None
) -> Outcome:
    """Train, from where an interrupted run has left its state on, and test."""
    trainer = resumed(make, state)
    epochs, notes = trainer.settings.epochs, []
    try:
        while not trainer.finished:
            row = trainer.one_epoch()
            if state is not None:
                save(trainer.state(), state)
            text = f"epoch {trainer.epoch}/{epochs}, val MAE {row['val_MAE']:.2f}"
            report(trainer.epoch / epochs, text)
    except DivergedError as error:
        notes.append(str(error))
    trainer.finish()
    ages, found = test.ages.numpy(), trainer.predict(test)[:, -1]
    metrics = {
        **age_metrics(found, ages),
        "wrong pairs": 100 * all_pairs(discordant(found, ages))[1],
        "slope": fit_age_bias(found, ages).slope,
        "val MAE": trainer.best_mae,
        "epochs": float(trainer.epoch),
    }
    metrics = {k: math.nan if notes else v for k, v in metrics.items()}
    arrays = {"ages": ages, "predictions": found.astype(np.float32)}
    weights = {k: v.detach().cpu() for k, v in trainer.trained.state_dict().items()}
    return Outcome(metrics, trainer.history, arrays, notes, weights)
