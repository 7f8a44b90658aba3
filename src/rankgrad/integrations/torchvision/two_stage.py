"""Faster R-CNN and Mask R-CNN, trained by ranking."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align

from rankgrad.integrations.torchvision.boxes import decode
from rankgrad.integrations.torchvision.calibration import Calibration
from rankgrad.integrations.torchvision.criteria import Criterion
from rankgrad.integrations.torchvision.detections import Limits, detections
from rankgrad.integrations.torchvision.matches import Matches, Targets, gather_matches
from rankgrad.integrations.torchvision.ranked import Ranked, add_calibration, adopt
from rankgrad.losses.detection import balance

__all__ = ["RankFasterRCNN", "RankMaskRCNN", "RankRPN", "RankRoIHeads"]

# The weight of the region proposals beside the detections, as published.
RPN_WEIGHT = 0.20


class _RPN(nn.Module):
    criterion: Criterion
    weight: float
    box_coder: Any
    _truth: tuple[Tensor, Tensor, Tensor] | None

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Targets
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As torchvision does, and keep for the loss what it will not be given."""
        plain: Any = super()
        labels, boxes = plain.assign_targets_to_anchors(anchors, targets)
        counts = torch.tensor([len(a) for a in anchors], device=anchors[0].device)
        images = torch.arange(len(anchors), device=counts.device).repeat_interleave(counts)
        self._truth = torch.cat(anchors), torch.cat(boxes), images
        return labels, boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: Sequence[Tensor],
        regression_targets: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of all anchors, none sampled."""
        assert self._truth is not None
        anchors, boxes, images = self._truth
        self._truth = None
        label = torch.cat(list(labels))
        rows = (label > 0).nonzero()[:, 0]
        matches = Matches(rows, torch.zeros_like(rows), boxes[rows].float(), label < 0, images)
        predicted, sound = decode(
            self.box_coder.decode_single, pred_bbox_deltas[rows], anchors[rows]
        )
        losses = self.criterion(objectness.view(-1, 1), matches, predicted, sound)
        return self.weight * losses[0], self.weight * losses[1]


class RankRPN(_RPN, RegionProposalNetwork):
    """torchvision's region proposals, trained by ranking all anchors."""


class _RoIHeads(nn.Module):
    criterion: Criterion
    calibration: Calibration
    box_coder: Any
    score_thresh: float
    nms_thresh: float
    detections_per_img: int

    def subsample(self, labels: Sequence[Tensor]) -> list[Tensor]:
        """Return every proposal: there is no sampler."""
        return [torch.arange(len(x), device=x.device) for x in labels]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return the detections in evaluation, the losses in training."""
        if not self.training:
            found: tuple[Any, Any] = super().forward(features, proposals, image_shapes, targets)
            return found
        this: Any = self
        proposals, matched, labels, _ = this.select_training_samples(list(proposals), targets)
        assert targets is not None
        # torchvision's labels: above 0 a class, 0 background, -1 to ignore.
        matched = [
            torch.where(y > 0, i, torch.where(y < 0, -2, -1))
            for i, y in zip(matched, labels, strict=True)
        ]
        matches = gather_matches(targets, matched, first_class=1)
        pooled = this.box_head(this.box_roi_pool(features, proposals, image_shapes))
        logits, codes = this.box_predictor(pooled)
        codes = codes.view(len(codes), -1, 4)[matches.rows]
        # A predictor has boxes for each class, the background first, or one for all.
        which = matches.classes + 1 if codes.shape[1] > 1 else torch.zeros_like(matches.classes)
        codes = codes[torch.arange(len(codes), device=codes.device), which]
        predicted, sound = decode(
            self.box_coder.decode_single, codes, torch.cat(proposals)[matches.rows]
        )
        classification, box = self.criterion(logits[:, 1:], matches, predicted, sound)
        losses = {"loss_classifier": classification, "loss_box_reg": box}
        if this.has_mask():
            masks = self._mask_loss(features, proposals, image_shapes, matched, targets)
            losses["loss_mask"] = balance(masks, classification)
        return [], losses

    def _mask_loss(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[Tensor],
        image_shapes: list[tuple[int, int]],
        matched: Sequence[Tensor],
        targets: Targets,
    ) -> Tensor:
        """Return the mean Dice loss of the positives' masks."""
        this: Any = self
        boxes = [p[i >= 0] for p, i in zip(proposals, matched, strict=True)]
        taken = [i[i >= 0] for i in matched]
        logits = this.mask_predictor(
            this.mask_head(this.mask_roi_pool(features, boxes, image_shapes))
        )
        labels = torch.cat([t["labels"][i] for t, i in zip(targets, taken, strict=True)])
        chosen = logits[torch.arange(len(labels), device=labels.device), labels].float()
        size = logits.shape[-1]
        truth = torch.cat(
            [
                roi_align(
                    t["masks"][:, None].float(),
                    torch.cat((i[:, None].float(), b.float()), 1),
                    (size, size),
                )[:, 0]
                for t, i, b in zip(targets, taken, boxes, strict=True)
            ]
        )
        return dice_loss(chosen.flatten(1), truth.flatten(1))

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return boxes, scores and labels of each image; the background has no score."""
        scores = self.calibration(class_logits[:, 1:]).sigmoid()
        counts = [len(p) for p in proposals]
        k = box_regression.shape[1] // 4
        codes = box_regression.view(-1, k, 4)[:, min(k - 1, 1) :]
        anchors = torch.cat(list(proposals)).repeat_interleave(codes.shape[1], 0)
        boxes, _ = decode(self.box_coder.decode_single, codes.reshape(-1, 4), anchors)
        limits = Limits(self.score_thresh, self.nms_thresh, self.detections_per_img)
        found = [
            detections(b, s, size, limits)
            for b, s, size in zip(
                boxes.view(-1, codes.shape[1], 4).split(counts),
                scores.split(counts),
                image_shapes,
                strict=True,
            )
        ]
        boxes_, scores_, labels_ = ([d[k] for d in found] for k in ("boxes", "scores", "labels"))
        return boxes_, scores_, labels_


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over rows of ``1 - 2 sum(p t) / (sum(p^2) + sum(t^2))``, 0 without rows.

    Source: Milletari, Navab & Ahmadi, "V-Net", 3DV 2016.

    >>> round(dice_loss(torch.tensor([[9.0, -9.0]]), torch.tensor([[1.0, 0.0]])).item(), 3)
    0.0
    """
    p = logits.sigmoid()
    overlap = (p * truth).sum(1)
    total = (p.square().sum(1) + truth.square().sum(1)).clamp(min=1e-6)
    return (1 - 2 * overlap / total).sum() / max(len(p), 1)


class RankRoIHeads(_RoIHeads, RoIHeads):
    """torchvision's box and mask heads, trained by ranking all proposals."""


class _TwoStages(Ranked):
    threshold = "box_score_thresh"
    rpn: Any
    roi_heads: Any

    def rank_by(self, criterion: Criterion) -> None:
        if self.roi_heads.has_keypoint():
            raise ValueError("model must not have keypoints: no ranking loss is known for them")
        adopt(self.rpn, RankRPN)
        adopt(self.roi_heads, RankRoIHeads)
        group = criterion.group  # a process group cannot be copied
        self.rpn.criterion = copy.deepcopy(criterion, {id(group): group})
        self.rpn.weight, self.rpn._truth = RPN_WEIGHT, None
        self.roi_heads.criterion = criterion
        add_calibration(self.roi_heads)


class RankFasterRCNN(_TwoStages, FasterRCNN):
    """torchvision's Faster R-CNN, trained by ranking in both stages and without a sampler.

    The scores are sigmoids, one a class; the column of the background stays in the weights and is
    not used. The loss of the region proposals counts 0.20, as published.

    Args:
        backbone: as for torchvision's class, and so are all further keyword arguments.
        num_classes: classes, the background included.
        loss: "rank_sort", "ap", "alrp" or a :class:`Criterion`; the region proposals get a copy.
        box_score_thresh: detections must score above this, see :class:`RankRetinaNet`.
        criterion: settings of the criterion.

    Source of the model: Ren et al., "Faster R-CNN", NeurIPS 2015; Lin et al., "Feature Pyramid
    Networks for Object Detection", CVPR 2017.
    """


class RankMaskRCNN(_TwoStages, MaskRCNN):
    """torchvision's Mask R-CNN, trained by ranking, with a balanced Dice loss on the masks.

    Arguments as for :class:`RankFasterRCNN`.

    Source of the model: He, Gkioxari, Dollár & Girshick, "Mask R-CNN", ICCV 2017.
    """
