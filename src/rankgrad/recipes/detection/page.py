"""The page of a training run, and what the page of a comparison has in common with it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankgrad.data.boxes import BoxData
from rankgrad.recipes.detection import figures
from rankgrad.recipes.detection.comparison import SHOWN
from rankgrad.recipes.detection.outcomes import ClassOutcomes, Prediction, order_agreement
from rankgrad.recipes.detection.settings import DetectionSettings
from rankgrad.recipes.detection.splits import Splits
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.tables import settings_table, text
from rankgrad.report import Figure, Page, Section, Table

__all__ = ["COLUMNS", "best_threshold", "coco_rows", "sample_images", "write_run_page"]

COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "oLRP")


def best_threshold(found: Sequence[ClassOutcomes]) -> float:
    """Return the score above which to keep detections: the median over categories of oLRP's."""
    scores = [one.olrp.score.item() for one in found]
    known = [s for s in scores if math.isfinite(s)]
    return float(np.median(known)) - 1e-6 if known else 0.5


def coco_rows(metrics: Mapping[str, float], categories: Sequence[str]) -> list[list[str]]:
    """Return COCO's table as text: all categories, masks if there are any, each category."""
    lines = [("all", {column: column for column in COLUMNS})]
    if "mask AP" in metrics:
        lines += [("masks", {column: f"mask {column}" for column in ("AP", "AP50", "AP75")})]
    lines += [(name, {"AP": f"AP {name}", "oLRP": f"oLRP {name}"}) for name in categories]
    return [
        [name, *(text(metrics[keys[column]]) if column in keys else "" for column in COLUMNS)]
        for name, keys in lines
    ]


def write_run_page(
    folder: Path,
    settings: DetectionSettings,
    splits: Splits,
    history: Sequence[Mapping[str, float]],
    metrics: Mapping[str, float],
    found: Sequence[ClassOutcomes],
    predictions: Sequence[Prediction],
) -> Path:
    """Write ``folder/report.html`` about one trained detector and return its path."""
    name = f"{settings.model}, {settings.loss}"
    order = order_agreement(found)
    notes = [*splits.notes, *(str(p) for p in splits.problems[:20])]
    tested = splits.test
    sections = [
        Section(
            "Test set",
            tables=[
                Table(
                    ["category", *COLUMNS],
                    coco_rows(metrics, splits.categories),
                    "In percent. COCO's AP by faster-coco-eval; oLRP: lower is better.",
                )
            ],
        ),
        Section(
            "Precision and recall",
            figures=[
                figures.precision_recall({name: found}, k, title=category)
                for k, category in enumerate(splits.categories)
            ],
        ),
        Section(
            "Scores",
            text=[
                "Left: how right and wrong detections score. Right: whether better boxes score "
                "higher, over the right detections (IoU 0.5). Below, if validation was measured, "
                "how that rank correlation came about from epoch to epoch."
            ],
            figures=[
                figures.score_histogram(found, title="scores"),
                figures.order_scatter(found, order, title="score and IoU"),
            ],
        ),
        Section("Training", figures=_training(history)),
        Section("Detections", figures=[sample_images(tested, predictions, found)]),
        Section(
            "Settings and data",
            text=[f"Training: {splits.train.summary()}. Test: {tested.summary()}."],
            tables=[settings_table(plain(settings))],
            points=notes,
        ),
    ]
    page = Page(
        title="A detector trained by ranking" if settings.ranks else "A detector",
        lead=f"{settings.model} with loss {settings.loss} on a backbone {settings.backbone} from "
        f"scratch; {text(metrics['AP'])} AP on {len(tested)} test images.",
        sections=sections,
        footer="Written by rankgrad train detection.",
    )
    path = folder / "report.html"
    page.write(path)
    return path


def _training(history: Sequence[Mapping[str, float]]) -> list[Figure]:
    names = {"loss": "training loss", "val_AP": "validation AP", "val_order": "score-IoU order"}
    return [
        figures.epochs_chart(history, column, label)
        for column, label in names.items()
        if history and all(not math.isnan(row.get(column, math.nan)) for row in history)
    ]


def sample_images(
    data: BoxData, predictions: Sequence[Prediction], found: Sequence[ClassOutcomes]
) -> Figure:
    """Show the first images with their truth and what was detected."""
    n = min(SHOWN, len(data), len(predictions))
    return figures.samples(
        data.records[:n],
        predictions[:n],
        data.categories,
        threshold=best_threshold(found),
        title="The first test images",
    )
