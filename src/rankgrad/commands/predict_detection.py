"""``rankgrad predict detection``: draws boxes on images and writes them as COCO's JSON."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import device_of
from rankgrad.commands.train_detection import NEEDS

if TYPE_CHECKING:
    from rankgrad.data.boxes import BoxData

__all__ = ["add_arguments", "run"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("detector", type=Path, help="detector.pt of a training run")
    add("images", type=Path, nargs="+", help="image files, or folders of them")
    add(
        "--threshold",
        type=_score,
        default=0.3,
        metavar="X",
        help="draw and write detections that score above this (default: %(default)s)",
    )
    add("--out", type=Path, default=Path("detections"), metavar="DIR", help="(default: detections)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"takes a score from 0 to 1, got {text!r}")
    return value


def run(options: argparse.Namespace) -> int:
    """Detect, draw and write."""
    require(NEEDS, "recipes", "detection")
    from rankgrad.data.boxes import BoxDataset
    from rankgrad.recipes.detection.drawing import save_drawing
    from rankgrad.recipes.detection.evaluation import coco_json, predict
    from rankgrad.recipes.detection.running import load_detector

    try:
        model, settings, categories = load_detector(options.detector)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    data = _images(options.images, categories)
    model.to(device_of(options.device))
    try:
        found = predict(model, BoxDataset(data, settings.size))
    except OSError as error:
        raise CommandError(str(error)) from None
    found = [{k: v[one["scores"] > options.threshold] for k, v in one.items()} for one in found]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for record, one, name in zip(data.records, found, _names(data), strict=True):
            save_drawing(record, one, categories, options.out / f"{name}.png")
        rows = coco_json(data, found)
        content = {
            "images": [
                {"id": i, "file_name": r.id, "width": r.width, "height": r.height}
                for i, r in enumerate(data.records, start=1)
            ],
            "categories": [{"id": i, "name": n} for i, n in enumerate(categories, start=1)],
            "annotations": rows,
        }
        numbers = {r.id: i for i, r in enumerate(data.records, start=1)}
        for number, row in enumerate(rows, start=1):
            row |= {"id": number, "image_id": numbers[row["image_id"]]}
        path = options.out / "detections.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    print(f"{sum(len(f['scores']) for f in found)} detections on {len(found)} images: {path}")
    return 0


def _names(data: "BoxData") -> list[str]:
    """Names for the pictures: those of the images, numbered where two have the same."""
    stems = [Path(str(record.id)).stem for record in data.records]
    return [s if stems.count(s) == 1 else f"{s}-{i}" for i, s in enumerate(stems, start=1)]


def _images(given: list[Path], categories: tuple[str, ...]) -> "BoxData":
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    from rankgrad.data.boxes import BoxData, BoxRecord

    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            paths += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        else:
            paths.append(path)
    if not paths:
        raise CommandError(f"there is no image in {', '.join(map(str, given))}")
    records = []
    for path in paths:
        try:
            with Image.open(path) as image:
                width, height = image.size
        except (OSError, UnidentifiedImageError) as error:
            raise CommandError(f"{path} cannot be read as an image ({error})") from None
        records.append(
            BoxRecord(
                id=str(path),
                image=path,
                width=width,
                height=height,
                boxes=np.zeros((0, 4), dtype=np.float32),
                labels=np.zeros(0, dtype=np.int64),
                crowd=np.zeros(0, dtype=bool),
            )
        )
    return BoxData(tuple(records), categories, tuple(range(1, len(categories) + 1)))
