"""Detections matched with the truth, and what follows from it: AP, its interval, curves, oLRP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rankgrad.data.boxes import BoxData, BoxRecord
from rankgrad.metrics.correlation import spearman
from rankgrad.metrics.detection import OLRP, match_boxes, olrp

__all__ = [
    "THRESHOLDS",
    "ClassOutcomes",
    "Prediction",
    "average_precision",
    "interval",
    "order_agreement",
    "outcomes",
]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""COCO's IoU thresholds."""

# Of each image: boxes [n, 4] in its own pixels, scores [n], labels [n].
Prediction = dict[str, np.ndarray]


@dataclass(frozen=True)
class ClassOutcomes:
    """All detections of one category, the best score first."""

    name: str
    scores: np.ndarray
    images: np.ndarray
    """Number of the image of each."""
    ious: np.ndarray
    """``[10, n]``: the IoU with the box that it took, at each threshold; 0 if it took none, -1 if
    it took none and lies in a crowd region: neither right nor wrong."""
    truths: np.ndarray
    """``[images]``: true boxes of each image."""

    @property
    def olrp(self) -> OLRP:
        """The optimal LRP error at IoU 0.5."""
        counts = self.ious[0] >= 0
        return olrp(
            torch.from_numpy(self.scores[counts]),
            torch.from_numpy(self.ious[0][counts]),
            int(self.truths.sum()),
        )

    def curve(self, threshold: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return recall and precision after each detection."""
        ious = self.ious[threshold]
        true = (ious[ious >= 0] > 0).cumsum()
        n = np.arange(1, len(true) + 1)
        return true / max(self.truths.sum(), 1), true / n


def outcomes(
    data: BoxData, predictions: Sequence[Prediction], thresholds: Sequence[float] = THRESHOLDS
) -> list[ClassOutcomes]:
    """Match the detections of every image, class by class, by COCO's rule."""
    found = []
    for label, name in enumerate(data.categories, start=1):
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        truths = np.zeros(len(data), dtype=np.int64)
        for i, (record, prediction) in enumerate(zip(data.records, predictions, strict=True)):
            of_class = prediction["labels"] == label
            boxes, scores = prediction["boxes"][of_class], prediction["scores"][of_class]
            truth = record.boxes[(record.labels == label) & ~record.crowd]
            truths[i] = len(truth)
            if len(scores):
                ious = np.stack([_ious(boxes, scores, truth, t) for t in thresholds])
                crowded = _in_crowd(boxes, record, label) >= np.array(thresholds)[:, None]
                ious[crowded & (ious == 0)] = -1
                parts.append((scores, np.full(len(scores), i), ious))
        empty = np.zeros((len(thresholds), 0))
        all_scores = np.concatenate([np.zeros(0), *(p[0] for p in parts)])
        order = np.argsort(-all_scores, kind="stable")
        found.append(
            ClassOutcomes(
                name=name,
                scores=all_scores[order],
                images=np.concatenate([np.zeros(0, dtype=int), *(p[1] for p in parts)])[order],
                ious=np.concatenate([empty, *(p[2] for p in parts)], axis=1)[:, order],
                truths=truths,
            )
        )
    return found


def _ious(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    ious, _ = match_boxes(
        *(torch.from_numpy(np.ascontiguousarray(x)) for x in (boxes, scores, truth)),
        threshold=threshold,
    )
    return ious.numpy()


def _in_crowd(boxes: np.ndarray, record: BoxRecord, label: int) -> np.ndarray:
    """How much of a detection lies in one of the crowd regions of its category."""
    crowd = record.boxes[record.crowd & (record.labels == label)]
    if not len(crowd):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], crowd[:, :2])
    high = np.minimum(boxes[:, None, 2:], crowd[:, 2:])
    shared = (high - low).clip(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    inside: np.ndarray = (shared / np.maximum(area, 1e-9)[:, None]).max(1)
    return inside


def average_precision(found: Sequence[ClassOutcomes], counts: np.ndarray | None = None) -> float:
    """Return COCO's AP: the mean over categories and IoU thresholds, in percent.

    Precision is interpolated and read at 101 recalls. ``counts`` says how often each image is
    taken, for resampling; categories without true boxes are left out.
    """
    values = []
    for one in found:
        weights = np.ones(len(one.truths)) if counts is None else counts
        total = (weights * one.truths).sum()
        if total == 0:
            continue
        w = weights[one.images]
        for ious in one.ious:
            true, false = (w * (ious > 0)).cumsum(), (w * (ious == 0)).cumsum()
            precision = true / np.maximum(true + false, 1e-12)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(true / total, np.linspace(0, 1, 101) - 1e-12)
            values.append(np.append(precision, 0.0)[at.clip(max=len(precision))].mean())
    return 100 * float(np.mean(values)) if values else float("nan")


def interval(
    found: Sequence[ClassOutcomes], *, draws: int = 200, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of AP over images: how far chance in the images alone goes."""
    rng = np.random.default_rng(seed)
    n = len(found[0].truths)
    values = [
        average_precision(found, rng.multinomial(n, np.full(n, 1 / n)).astype(float))
        for _ in range(draws)
    ]
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def order_agreement(found: Sequence[ClassOutcomes]) -> float:
    """Return Spearman's correlation of score and IoU over the true positives of IoU 0.5."""
    pairs = [(one.scores, one.ious[0]) for one in found]
    scores = np.concatenate([s[i > 0] for s, i in pairs])
    ious = np.concatenate([i[i > 0] for _, i in pairs])
    if len(scores) < 3 or len(set(scores)) < 2:
        return math.nan
    return spearman(torch.from_numpy(scores), torch.from_numpy(ious)).item()
