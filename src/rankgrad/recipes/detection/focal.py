"""The criterion to compare with: focal loss on the scores, GIoU on the boxes."""

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from rankgrad.integrations.torchvision.criteria import Criterion, Located

__all__ = ["FocalCriterion"]


class FocalCriterion(Criterion):
    """Focal loss over the number of positives, and the mean of ``1 - GIoU``.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """

    weighs_boxes = False

    def losses(
        self, logits: Tensor, targets: Tensor, segments: Tensor | None, positives: Located
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        each = sigmoid_focal_loss(logits, (targets > 0).to(logits.dtype))
        total = torch.where(targets >= 0, each, 0.0).sum()
        return total / max(positives.errors.numel(), 1), positives.mean(), {}
