"""Detections from sigmoid scores, for the detectors in which torchvision takes a softmax."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

__all__ = ["Limits", "detections"]

# Candidates an image that go into non-maximum suppression.
CANDIDATES = 1000


class Limits(NamedTuple):
    """What is dropped."""

    score_thresh: float
    nms_thresh: float
    detections_per_img: int


def detections(
    boxes: Float[Tensor, "n k 4"],
    scores: Float[Tensor, "n c"],
    image_size: tuple[int, int],
    limits: Limits,
) -> dict[str, Tensor]:
    """Return ``boxes``, ``scores`` and ``labels`` (1 to c) of one image, the best first.

    Args:
        boxes: of each anchor and class, or (``k = 1``) one for all classes.
        scores: probabilities.
        image_size: height and width.
        limits: what is dropped.
    """
    c = scores.shape[1]
    flat = scores.flatten()
    above = (flat > limits.score_thresh).nonzero()[:, 0]
    flat, order = flat[above].topk(min(CANDIDATES, above.numel()))
    rows, columns = above[order] // max(c, 1), above[order] % max(c, 1)
    found = boxes[rows, columns if boxes.shape[1] == c else torch.zeros_like(columns)]
    found = clip_boxes_to_image(found, image_size)
    solid = (found[:, 2:] - found[:, :2]).amin(1) > 1e-2
    found, flat, labels = found[solid], flat[solid], columns[solid] + 1
    kept = batched_nms(found, flat, labels, limits.nms_thresh)[: limits.detections_per_img]
    return {"boxes": found[kept], "scores": flat[kept], "labels": labels[kept]}
