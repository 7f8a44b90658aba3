"""Pairs of boxes: how well they overlap, and predicted boxes that are always finite."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["decode", "paired_iou"]


def paired_iou(
    first: Float[Tensor, "p 4"], second: Float[Tensor, "p 4"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Return IoU and generalised IoU of the boxes ``(x1, y1, x2, y2)`` of each row.

    ``GIoU = IoU - (hull - union) / hull``, with the hull the smallest box around both. Boxes
    without area overlap nothing.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.

    >>> one, two = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]])
    >>> iou, giou = paired_iou(one, two)
    >>> round(iou.item(), 4), round(giou.item(), 4)
    (0.3333, 0.3333)
    """
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    inner = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    outer = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    shared = inner.clamp(min=0).prod(1)
    union, hull = areas[0] + areas[1] - shared, outer.prod(1)
    tiny = torch.finfo(union.dtype).tiny
    iou = shared / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)


def decode(
    coder: Callable[[Tensor, Tensor], Tensor], codes: Tensor, anchors: Tensor
) -> tuple[Float[Tensor, "p 4"], Bool[Tensor, " p"]]:
    """Return the boxes that the codes stand for, in float32 at least, and which of them are sound.

    A code with a NaN or an infinity gives the box of code 0, without gradient, and is not sound.
    """
    codes = codes.to(torch.promote_types(codes.dtype, torch.float32))
    sound = codes.isfinite().all(1)
    boxes = coder(torch.where(sound[:, None], codes, 0.0), anchors.to(codes.dtype)).view(-1, 4)
    return boxes, sound & boxes.detach().isfinite().all(1)
