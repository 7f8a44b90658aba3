"""COCO's table of masks, for Mask R-CNN."""

import contextlib
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from rankgrad.data.boxes import BoxData, BoxDataset, BoxRecord, ellipses
from rankgrad.recipes.detection.settings import DetectionSettings
from rankgrad.recipes.detection.splits import Splits

__all__ = ["mask_metrics", "mask_notes", "masked", "with_masks"]


def masked(data: BoxData, settings: DetectionSettings) -> BoxDataset:
    """Return the images with the masks that the settings ask for."""
    return BoxDataset(with_masks(data, settings), settings.size, masks=True)


def with_masks(data: BoxData, settings: DetectionSettings) -> BoxData:
    """Return the data with the masks that the settings ask for, and only the boxes with one."""
    if settings.masks == "ellipse":
        return ellipses(data)
    return replace(data, records=tuple(_masked_only(record) for record in data.records))


def _masked_only(record: BoxRecord) -> BoxRecord:
    shapes = record.shapes or (None,) * len(record.boxes)
    kept = np.array([shape is not None for shape in shapes], dtype=bool)
    return replace(
        record,
        boxes=record.boxes[kept],
        labels=record.labels[kept],
        crowd=record.crowd[kept],
        shapes=tuple(shape for shape in shapes if shape is not None),
    )


def mask_notes(splits: Splits, settings: DetectionSettings) -> tuple[str, ...]:
    """Return what is to be said about the masks.

    Raises:
        ValueError: the model needs masks, and there are none to learn from.
    """
    if settings.model != "mask-rcnn":
        return ()
    if settings.masks == "ellipse":
        return ("masks: the ellipse in each box",)
    found = with_masks(splits.train, settings)
    if not found.usable:
        raise ValueError(
            "mask-rcnn needs masks, and no object of the training data has one; "
            "--masks ellipse takes the ellipse in each box"
        )
    lost = splits.train.objects - found.objects
    return (f"{lost} training objects without a mask are left out",) if lost else ()


@torch.no_grad()
def mask_metrics(model: nn.Module, dataset: BoxDataset, *, batch_size: int = 4) -> dict[str, float]:
    """Return ``mask AP``, ``mask AP50`` and ``mask AP75`` in percent, by faster-coco-eval.

    Masks are compared in the size that the images are given to the model with.

    Args:
        model: a Mask R-CNN.
        dataset: with ``masks=True``; crowd regions are left out.
        batch_size: images at a time.
    """
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as codec

    def encoded(mask: np.ndarray) -> Any:
        return codec.encode(np.asfortranarray(mask.astype(np.uint8)))

    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(dataset), batch_size):
        items = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        detections = model([image.to(device) for image, _ in items])
        for i, ((image, target), one) in enumerate(zip(items, detections, strict=True), start + 1):
            images.append({"id": i, "height": image.shape[1], "width": image.shape[2]})
            for mask, label in zip(target["masks"].numpy(), target["labels"].tolist(), strict=True):
                code = encoded(mask)
                truth.append(
                    {
                        "id": len(truth) + 1,
                        "image_id": i,
                        "category_id": label,
                        "segmentation": code,
                        "area": float(mask.sum()),
                        "bbox": [float(v) for v in codec.toBbox(code)],
                        "iscrowd": 0,
                    }
                )
            masks = (one["masks"][:, 0] > 0.5).cpu().numpy()
            for mask, label, score in zip(
                masks, one["labels"].tolist(), one["scores"].tolist(), strict=True
            ):
                found.append(
                    {
                        "image_id": i,
                        "category_id": label,
                        "segmentation": encoded(mask),
                        "score": score,
                    }
                )
    names = ("mask AP", "mask AP50", "mask AP75")
    if not found:
        return dict.fromkeys(names, 0.0)
    kinds = [{"id": i, "name": n} for i, n in enumerate(dataset.data.categories, start=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO({"images": images, "annotations": truth, "categories": kinds})
        evaluation = COCOeval_faster(there, there.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(v) for v in evaluation.stats[:3]]
    return {n: 100 * v if v > -1 else math.nan for n, v in zip(names, values, strict=True)}
