"""``rankgrad train detection``: a detector, from a folder of images with boxes to a COCO table."""

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands.errors import CommandError, require, training_errors
from rankgrad.commands.options import add_device_options, add_run_options, device_of, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.detection.settings import DetectionSettings
    from rankgrad.recipes.detection.splits import Splits

__all__ = ["NEEDS", "add_arguments", "add_detector_options", "open_data", "run", "settings_of"]

NEEDS = ("rich", "torchvision", "faster_coco_eval", "sklearn", "matplotlib", "jinja2", "PIL")
QUICK: dict[str, Any] = {"epochs": 2, "backbone": "tiny", "size": 64, "warmup": 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_detector_options(parser)
    add(
        "--loss",
        choices=("rank-sort", "ap", "alrp", "focal", "torchvision"),
        help="a ranking loss, focal loss with GIoU, or what the model comes with "
        "(default: rank-sort)",
    )
    add("--anchors", type=int, choices=(1, 3, 9, 18), help="anchors a cell (default: 3)")
    add("--lr", type=float, metavar="X", help="learning rate of AdamW (default: 0.001)")
    add("--seed", type=int, metavar="N", help="of weights, order and mirroring (default: 0)")
    add_device_options(parser)
    add_run_options(parser, "runs/detection", "model and loss")


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and comparing share."""
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="images with boxes, in COCO's or Pascal VOC's layout (default: scenes of digits)",
    )
    add("--strict", action="store_true", help="refuse annotation files with anything wrong in them")
    add(
        "--model",
        choices=("retinanet", "fcos", "ssd", "faster-rcnn", "mask-rcnn"),
        help="(default: retinanet)",
    )
    add("--backbone", choices=("tiny", "small", "resnet18", "resnet34", "resnet50"))
    add("--epochs", type=positive, metavar="N", help="(default: 24)")
    add("--batch-size", type=positive, metavar="N", help="images a step (default: 4)")
    add("--size", type=positive, metavar="N", help="shorter side of an image (default: 320)")
    add("--weight-decay", type=float, metavar="X", help="(default: 0.0001)")
    add("--warmup", type=int, metavar="N", help="steps to the full learning rate (default: 100)")
    add(
        "--rank-over",
        choices=("batch", "image", "class"),
        help="what is ranked together (default: batch)",
    )
    add("--proposals", type=positive, metavar="N", help="of two-stage models (default: 300)")
    add("--masks", choices=("file", "ellipse"), help="where mask-rcnn's masks are from")
    add("--precision", choices=("float32", "bfloat16"), help="(default: float32)")
    add("--quick", action="store_true", help="a few seconds, to see that it works")


def settings_of(options: argparse.Namespace) -> "DetectionSettings":
    """Return the settings that the options ask for."""
    from rankgrad.recipes.detection.settings import DetectionSettings

    values = dict(QUICK if options.quick else {})
    for field in fields(DetectionSettings):
        given = getattr(options, field.name, None)
        if given is not None:
            values[field.name] = given
    try:
        return DetectionSettings(**values)
    except ValueError as error:
        raise CommandError(str(error), 2) from None


def open_data(
    options: argparse.Namespace, settings: "DetectionSettings", console: "Console"
) -> "Splits":
    """Open the data, and say what is there and what is wrong with it."""
    from rankgrad.recipes.detection.masks import mask_notes
    from rankgrad.recipes.detection.splits import DataError, open_splits

    try:
        splits = open_splits(
            options.data, strict=options.strict, scenes=16 if options.quick else 200
        )
    except DataError as error:
        raise CommandError(str(error)) from None
    parts = (("training", splits.train), ("validation", splits.val), ("test", splits.test))
    for name, data in parts:
        console.print(f"{name}: {data.summary()}", markup=False, soft_wrap=True)
    for problem in splits.problems[:10]:
        console.print(f"  {problem}", markup=False, soft_wrap=True, style="dim")
    if len(splits.problems) > 10:
        console.print(f"  and {len(splits.problems) - 10} more", style="dim")
    try:
        notes = (*splits.notes, *mask_notes(splits, settings))
    except ValueError as error:
        raise CommandError(str(error)) from None
    for note in notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    return replace(splits, notes=notes)


def run(options: argparse.Namespace) -> int:
    """Train, or go on training; test; write the detections and the page."""
    require(NEEDS, "recipes", "training a detector")
    import torch
    from rich.console import Console

    from rankgrad.recipes.detection.running import train_detector
    from rankgrad.recipes.detection.training import DivergedError, Progress
    from rankgrad.recipes.display import epoch_display

    settings = settings_of(options)
    device = device_of(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    name = options.name or f"{settings.model}-{settings.loss}"
    folder: Path = options.out or Path("runs", "detection", name)
    console = Console(highlight=False)
    console.print(
        f"{settings.model} with {settings.loss}, {settings.epochs} epochs on {device}; results in "
        f"{folder}",
        markup=False,
        soft_wrap=True,
    )
    splits = open_data(options, settings, console)
    data = options.data.name if options.data else "digit scenes"

    def describe(p: Progress) -> str:
        ap = f", val AP {p.ap:.1f} (best {p.best:.1f})" if isfinite(p.ap) else ""
        return f"loss {p.loss:.3f}{ap}"

    try:
        with training_errors(), epoch_display(console, describe) as show:
            result = train_detector(
                settings, splits, folder, data=data, device=device, fresh=options.fresh,
                on_progress=show,
            )  # fmt: skip
    except DivergedError as error:
        raise CommandError(f"{error}; try a lower --lr") from None
    if result.resumed_at:
        console.print(f"Went on after epoch {result.resumed_at}.")
    metrics, report = _test(settings, splits, folder, result.model)
    _print_table(console, metrics, splits.categories)
    console.print(f"Detector: {result.path}\nReport: {report}", markup=False, soft_wrap=True)
    console.print(f"rankgrad predict detection {result.path} IMAGE...", style="dim", soft_wrap=True)
    return 0


def _test(
    settings: "DetectionSettings", splits: "Splits", folder: Path, model: Any
) -> tuple[dict[str, float], Path]:
    import csv
    import json

    from rankgrad.data.boxes import BoxDataset
    from rankgrad.recipes.detection.evaluation import coco_json, detection_metrics, predict
    from rankgrad.recipes.detection.masks import mask_metrics, masked
    from rankgrad.recipes.detection.page import write_run_page
    from rankgrad.recipes.experiments.store import write_json

    predictions = predict(model, BoxDataset(splits.test, settings.size))
    metrics, found = detection_metrics(splits.test, predictions)
    if settings.model == "mask-rcnn":
        metrics |= mask_metrics(model, masked(splits.test, settings))
    write_json(folder / "test.json", dict(metrics))
    detections = json.dumps(coco_json(splits.test, predictions))
    (folder / "detections.json").write_text(detections, encoding="utf-8")
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        history = [
            {k: float(v) if v else float("nan") for k, v in row.items()}
            for row in csv.DictReader(file)
        ]
    report = write_run_page(folder, settings, splits, history, metrics, found, predictions)
    return metrics, report


def _print_table(
    console: "Console", metrics: Mapping[str, float], categories: tuple[str, ...]
) -> None:
    from rich import box
    from rich.table import Table

    from rankgrad.recipes.detection.page import COLUMNS, coco_rows

    table = Table(title="Test set, percent", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("category")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in coco_rows(metrics, categories if len(categories) <= 20 else ()):
        table.add_row(*row)
    console.print(table)
