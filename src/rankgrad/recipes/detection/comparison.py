"""Losses compared on the same data, model and seeds, each with its own best learning rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rankgrad.data.boxes import BoxDataset
from rankgrad.recipes.detection.evaluation import detection_metrics, predict
from rankgrad.recipes.detection.masks import mask_metrics, masked
from rankgrad.recipes.detection.outcomes import ClassOutcomes, Prediction, order_agreement
from rankgrad.recipes.detection.settings import LOSSES, DetectionSettings
from rankgrad.recipes.detection.splits import Splits, open_splits
from rankgrad.recipes.detection.training import DivergedError, Trainer
from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.study import Outcome, Report, Study
from rankgrad.recipes.runs import resumed, save

__all__ = [
    "RATES",
    "TUNING_SEED",
    "ComparisonSettings",
    "DetectionMethod",
    "chosen_rates",
    "comparison_study",
    "train",
    "tuning_study",
    "unpack_outcomes",
]

RATES = (3e-4, 5e-4, 1e-3, 2e-3)
# Not one of those that are compared.
TUNING_SEED = 1000

NAMES = {
    "rank-sort": "Rank & Sort",
    "ap": "AP loss",
    "alrp": "aLRP",
    "focal": "focal + GIoU",
    "torchvision": "torchvision's own",
}
# Test images whose detections are kept for the report.
SHOWN = 4


@dataclass(frozen=True)
class ComparisonSettings:
    """What all runs share. ``run`` holds loss, learning rate and seed only as placeholders."""

    data: str | None
    run: DetectionSettings
    test: bool


@dataclass(frozen=True)
class DetectionMethod:
    """What they differ in."""

    name: str
    loss: str
    lr: float
    anchors: int


def tuning_study(
    run: DetectionSettings,
    data: str | None,
    losses: Sequence[str] = LOSSES,
    rates: Sequence[float] = RATES,
) -> Study:
    """Return the study that finds each loss's learning rate: one seed, validation only."""
    methods = tuple(
        DetectionMethod(f"{NAMES[loss]}, {rate:g}", loss, rate, run.anchors)
        for loss in losses
        for rate in rates
    )
    settings = ComparisonSettings(data, _shared(run), test=False)
    return Study("detection-rates", settings, methods, (TUNING_SEED,), train, resumable=True)


def chosen_rates(study: Study, runs: Sequence[StoredRun]) -> dict[str, float]:
    """Return the learning rate with the best validation AP of each loss."""
    ap = {run.method: run.metrics["val AP"] for run in runs}
    best: dict[str, tuple[float, float]] = {}
    for method in study.methods:
        value = ap[method.name]
        if not math.isnan(value) and value > best.get(method.loss, (-1.0, 0.0))[0]:
            best[method.loss] = value, method.lr
    return {loss: rate for loss, (_, rate) in best.items()}


def comparison_study(
    run: DetectionSettings,
    data: str | None,
    rates: Mapping[str, float],
    seeds: int = 3,
    anchors: Sequence[int] = (),
) -> Study:
    """Return the study itself, tested after the last epoch of each run.

    Args:
        run: the settings of all runs.
        data: folder of the data set, None for scenes of digits.
        rates: the learning rate of each loss.
        seeds: runs of each.
        anchors: several numbers of anchors a cell: every loss with each, at the same learning rate.
    """
    methods = tuple(
        DetectionMethod(
            f"{NAMES[loss]}, {count} anchors" if len(anchors) > 1 else NAMES[loss],
            loss,
            rate,
            count,
        )
        for count in anchors or (run.anchors,)
        for loss, rate in rates.items()
    )
    settings = ComparisonSettings(data, _shared(run), test=True)
    return Study("detection", settings, methods, tuple(range(seeds)), train, resumable=True)


def _shared(run: DetectionSettings) -> DetectionSettings:
    """Without what the methods set, so that it does not seem to differ."""
    return replace(run, loss="rank-sort", lr=1.0, seed=0)


@lru_cache(maxsize=2)
def _splits(data: str | None) -> Splits:
    return open_splits(data)


# What a detector is worth that finds nothing.
_NOTHING = {"val AP": 0.0, "AP": 0.0, "AP50": 0.0, "AP75": 0.0, "mask AP": 0.0, "oLRP": 100.0}
_NOTHING |= {"order": math.nan}


def train(
    settings: ComparisonSettings,
    method: DetectionMethod,
    seed: int,
    report: Report,
    state: Path | None = None,
) -> Outcome:
    """Train one loss with one seed; nothing but the learning rate was chosen by validation.

    A run that diverges counts as one that finds nothing, and says so. One that was interrupted
    goes on from its last epoch in ``state``.
    """
    splits = _splits(settings.data)
    run = replace(settings.run, loss=method.loss, lr=method.lr, anchors=method.anchors, seed=seed)
    trainer = resumed(lambda: Trainer(run, splits, validate=False), state)
    try:
        while not trainer.finished:
            row = trainer.one_epoch()
            if state is not None:
                save(trainer.state(), state)
            text = f"epoch {trainer.epoch}/{run.epochs}, loss {row['loss']:.2f}"
            report(trainer.epoch / run.epochs, text)
    except DivergedError as error:
        return Outcome(dict(_NOTHING), trainer.history, {}, [str(error)])
    metrics, arrays = {"val AP": trainer.ap}, {}
    if settings.test:
        tested = BoxDataset(splits.test, run.size)
        predictions = predict(trainer.finish(), tested)
        more, found = detection_metrics(splits.test, predictions)
        metrics |= {**more, "order": order_agreement(found)}
        if run.model == "mask-rcnn":
            metrics |= mask_metrics(trainer.model, masked(splits.test, run))
        arrays = pack_outcomes(found) | _shown(predictions)
    return Outcome(metrics, trainer.history, arrays, [], None)


def pack_outcomes(found: Sequence[ClassOutcomes]) -> dict[str, np.ndarray]:
    """Return the outcomes as arrays to be stored."""
    arrays: dict[str, np.ndarray] = {"names": np.array([one.name for one in found])}
    for k, one in enumerate(found):
        arrays |= {
            f"scores{k}": one.scores.astype(np.float32),
            f"images{k}": one.images.astype(np.int32),
            f"ious{k}": one.ious.astype(np.float32),
            f"truths{k}": one.truths,
        }
    return arrays


def unpack_outcomes(arrays: dict[str, np.ndarray]) -> list[ClassOutcomes]:
    """Undo :func:`pack_outcomes`."""
    return [
        ClassOutcomes(
            str(name),
            *(arrays[f"{part}{k}"] for part in ("scores", "images", "ious", "truths")),
        )
        for k, name in enumerate(arrays["names"])
    ]


def _shown(predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    return {
        f"shown{i}_{name}": value
        for i, one in enumerate(predictions[:SHOWN])
        for name, value in one.items()
    }


def shown(arrays: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    """Return the kept detections of test image ``i``."""
    return {name: arrays[f"shown{i}_{name}"] for name in ("boxes", "scores", "labels")}
