"""What a detector is worth: COCO's table by faster-coco-eval, and oLRP."""

import contextlib
import io
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from rankgrad.data.boxes import BoxData, BoxDataset
from rankgrad.recipes.detection.outcomes import ClassOutcomes, Prediction, outcomes

__all__ = ["coco_json", "coco_metrics", "detection_metrics", "predict"]

_SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@torch.no_grad()
def predict(
    model: nn.Module,
    dataset: BoxDataset,
    *,
    batch_size: int = 8,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[Prediction]:
    """Return the detections of every image, in its own pixels."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: list[Prediction] = []
    for start in range(0, len(dataset), batch_size):
        indices = range(start, min(start + batch_size, len(dataset)))
        with autocast():
            detections = model([dataset[i][0].to(device) for i in indices])
        for i, one in zip(indices, detections, strict=True):
            record = dataset.data.records[i]
            height, width = dataset.scaled(i)
            scale = np.array([record.width / width, record.height / height] * 2)
            found.append(
                {
                    "boxes": one["boxes"].float().cpu().numpy() * scale.astype(np.float32),
                    "scores": one["scores"].float().cpu().numpy(),
                    "labels": one["labels"].cpu().numpy(),
                }
            )
    model.train(training)
    return found


def detection_metrics(
    data: BoxData, predictions: Sequence[Prediction]
) -> tuple[dict[str, float], list[ClassOutcomes]]:
    """Return all metrics by name, in percent, and the matched detections.

    ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AP <category>``, ``oLRP``,
    ``oLRP <category>``: NaN where the data hold no such object. oLRP is lower the better.
    """
    found = outcomes(data, predictions)
    metrics = coco_metrics(data, predictions)
    errors = {one.name: 100 * one.olrp.total.item() for one in found}
    known = [e for e in errors.values() if not math.isnan(e)]
    metrics["oLRP"] = float(np.mean(known)) if known else math.nan
    return metrics | {f"oLRP {name}": e for name, e in errors.items()}, found


def coco_metrics(data: BoxData, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return COCO's table, computed by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_coco_truth(data))
    detections = _numbered(coco_json(data, predictions), data)
    if not detections:
        kinds = [f"AP {name}" for name in data.categories]
        return dict.fromkeys([*_SUMMARY, *kinds], 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval_faster(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    def percent(value: float) -> float:
        return 100 * float(value) if value > -1 else math.nan

    metrics = {k: percent(v) for k, v in zip(_SUMMARY, evaluation.stats[:6], strict=True)}
    precision = np.asarray(evaluation.eval["precision"])  # [threshold, recall, class, area, limit]
    for k, name in enumerate(data.categories):
        values = precision[:, :, k, 0, -1]
        metrics[f"AP {name}"] = percent(values.mean() if (values > -1).all() else -1.0)
    return metrics


def coco_json(data: BoxData, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return the detections as COCO's result format, with the ids of the annotation file."""
    return [
        {
            "image_id": record.id,
            "category_id": data.category_ids[int(label) - 1],
            "bbox": [round(float(v), 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": float(score),
        }
        for record, one in zip(data.records, predictions, strict=True)
        for (x1, y1, x2, y2), score, label in zip(
            one["boxes"].tolist(), one["scores"], one["labels"], strict=True
        )
        if 1 <= label <= len(data.categories)
    ]


def _numbered(detections: list[dict[str, Any]], data: BoxData) -> list[dict[str, Any]]:
    """The same with numbers for image ids, which the evaluator wants."""
    numbers = {record.id: i for i, record in enumerate(data.records, start=1)}
    return [{**one, "image_id": numbers[one["image_id"]]} for one in detections]


def _coco_truth(data: BoxData) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for i, record in enumerate(data.records, start=1):
        images.append({"id": i, "width": record.width, "height": record.height})
        for (x1, y1, x2, y2), label, crowd in zip(
            record.boxes.tolist(), record.labels, record.crowd, strict=True
        ):
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": i,
                    "category_id": data.category_ids[int(label) - 1],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(crowd),
                }
            )
    categories = [
        {"id": i, "name": n} for i, n in zip(data.category_ids, data.categories, strict=True)
    ]
    return {"images": images, "annotations": boxes, "categories": categories}
