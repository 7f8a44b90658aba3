"""Detections against true boxes: who takes which, and the optimal LRP error."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rankgrad.checks import check_floating, check_positive, check_same_shape

__all__ = ["OLRP", "match_boxes", "olrp"]


class OLRP(NamedTuple):
    """The optimal LRP error and what it is made of, at the score where it is least."""

    total: Tensor
    """In [0, 1]; lower is better. NaN without true boxes."""
    localization: Tensor
    """Mean of ``1 - IoU`` over the true positives; NaN without any."""
    false_positive: Tensor
    """One minus precision; NaN without detections."""
    false_negative: Tensor
    """One minus recall."""
    score: Tensor
    """Keep detections of this score and above; infinity if none is best."""


def match_boxes(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    truth: Float[Tensor, "m 4"],
    *,
    threshold: float = 0.5,
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Let detections of one class in one image take true boxes, the best score first.

    Each takes the box, of those not taken yet, with which its IoU is largest, if that reaches the
    threshold; equal scores in the order given. This is COCO's rule.

    Args:
        boxes: detections as ``(x1, y1, x2, y2)``.
        scores: of the detections.
        truth: true boxes.
        threshold: the least IoU.

    Returns:
        Of each detection the IoU with the box it took (0 if none) and the number of that box (-1).

    Raises:
        TypeError: ``boxes`` or ``scores`` is not floating point.
        ValueError: not one score a box, or ``threshold`` is not above 0.

    Cost: ``O(n m)``, on the CPU: who takes a box depends on who took one before. Waits for a GPU.

    >>> truth = torch.tensor([[0.0, 0, 10, 10]])
    >>> boxes = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 10]])
    >>> match_boxes(boxes, torch.tensor([0.9, 0.8]), truth)
    (tensor([0.8000, 0.0000]), tensor([ 0, -1]))
    """
    check_floating("boxes", boxes)
    check_floating("scores", scores)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"scores must have the shape [{len(boxes)}], got {tuple(scores.shape)}")
    check_positive("threshold", threshold)
    ious = np.zeros(len(boxes))
    taken = np.full(len(boxes), -1)
    if len(boxes) and len(truth):
        overlap = _iou(boxes.detach(), truth.to(boxes.dtype)).double().cpu().numpy()
        for i in scores.cpu().argsort(descending=True, stable=True).tolist():
            j = overlap[i].argmax()
            if overlap[i, j] >= threshold:
                ious[i], taken[i] = overlap[i, j], j
                overlap[:, j] = -1.0
    return torch.from_numpy(ious).to(boxes), torch.from_numpy(taken).to(boxes.device)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    union = areas[0][:, None] + areas[1] - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def olrp(
    scores: Float[Tensor, " n"],
    ious: Float[Tensor, " n"],
    truths: int,
    *,
    threshold: float = 0.5,
) -> OLRP:
    """Return the optimal localisation-recall-precision error of one class.

    If the detections that score at least ``s`` hold TP true and FP false positives, and FN boxes
    are missed::

        LRP(s) = (sum over the true positives of (1 - IoU) / (1 - threshold) + FP + FN)
                 / (TP + FP + FN)
        oLRP   = min over s of LRP(s)

    Args:
        scores: of all detections of the class, over all images.
        ious: of each with the box it took (:func:`match_boxes`); below the threshold it is false.
        truths: true boxes of the class, over all images.
        threshold: the IoU from which on a detection is true.

    Raises:
        ValueError: shapes differ, or ``threshold`` is not between 0 and 1.

    Cost: ``O(n log n)``.

    Source: Oksuz, Cam, Kalkan & Akbas, "One Metric to Measure them All: Localisation Recall
    Precision (LRP) for Evaluating Visual Detection Tasks", TPAMI 2021.

    >>> result = olrp(torch.tensor([0.9, 0.6]), torch.tensor([0.75, 0.0]), truths=2)
    >>> round(result.total.item(), 4)  # keeping the first: (0.5 + 0 + 1) / 2
    0.75
    """
    check_floating("scores", scores)
    check_floating("ious", ious)
    check_same_shape("ious", ious, "scores", scores)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    nan = scores.new_full((), torch.nan, dtype=torch.float64)
    if truths == 0:
        return OLRP(nan, nan, nan, nan, nan)
    order = scores.argsort(descending=True, stable=True)
    s, iou = scores[order].double(), ious[order].double()
    true = iou >= max(threshold, 1e-12)
    ends = torch.ones_like(true)
    ends[:-1] = s[1:] != s[:-1]  # equal scores are kept together or not at all
    tp = true.double().cumsum(0)
    off = torch.where(true, 1 - iou, 0.0).cumsum(0)
    kept = torch.arange(1, len(s) + 1, device=s.device, dtype=torch.float64)
    error = (off / (1 - threshold) + (kept - tp) + (truths - tp)) / (kept + truths - tp)
    error = torch.where(ends, error, torch.inf)
    if len(s) == 0:
        one, never = torch.ones_like(nan), torch.full_like(nan, torch.inf)
        return OLRP(one, nan, nan, one, never)
    best, at = error.min(0, keepdim=True)
    some = best <= 1  # else it is best to keep none

    def there(value: Tensor, otherwise: float) -> Tensor:
        return torch.where(some, value, otherwise).squeeze(0)

    hits = tp[at]
    return OLRP(
        there(best, 1.0),
        there(off[at] / hits, torch.nan),
        there(1 - hits / kept[at], torch.nan),
        there(1 - hits / truths, 1.0),
        there(s[at], torch.inf),
    )
