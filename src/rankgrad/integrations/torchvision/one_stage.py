"""RetinaNet, FCOS and SSD, trained by ranking."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD

from rankgrad.integrations.torchvision.boxes import decode
from rankgrad.integrations.torchvision.calibration import Calibration
from rankgrad.integrations.torchvision.criteria import Criterion
from rankgrad.integrations.torchvision.detections import Limits, detections
from rankgrad.integrations.torchvision.matches import Targets, gather_matches
from rankgrad.integrations.torchvision.ranked import Ranked, add_calibration, adopt

__all__ = ["RankFCOS", "RankFCOSHead", "RankRetinaNet", "RankRetinaNetHead", "RankSSD"]


class _Losses:
    """``compute_loss`` of whatever torchvision asks for it, by the criterion."""

    criterion: Criterion
    first_class = 0

    def decoder(self) -> Any:
        """Return what turns codes and anchors into boxes."""
        raise NotImplementedError

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: Mapping[str, Tensor],
        anchors: Sequence[Tensor],
        matched_idxs: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return both losses of outputs ``[images, anchors, ...]``, by name; no other is there."""
        logits = head_outputs["cls_logits"].flatten(0, 1)
        matches = gather_matches(targets, matched_idxs, self.first_class)
        codes = head_outputs["bbox_regression"].flatten(0, 1)[matches.rows]
        boxes = torch.cat(list(anchors))[matches.rows]
        predicted, sound = decode(self.decoder(), codes, boxes)
        classification, box = self.criterion(
            logits[:, self.first_class :], matches, predicted, sound
        )
        return {"classification": classification, "bbox_regression": box}


class _RetinaNetHead(_Losses, nn.Module):
    regression_head: Any

    def decoder(self) -> Any:
        return self.regression_head.box_coder.decode_single


class _FCOSHead(_Losses, nn.Module):
    box_coder: Any

    def decoder(self) -> Any:
        return self.box_coder.decode


class RankRetinaNetHead(_RetinaNetHead, RetinaNetHead):
    """RetinaNet's head with a ranking criterion."""


class RankFCOSHead(_FCOSHead, FCOSHead):
    """FCOS's head with a ranking criterion."""


class _Dense(Ranked):
    calibration: Calibration
    head: Any

    def rank_by(self, criterion: Criterion) -> None:
        head = self.head
        adopt(head, RankFCOSHead if isinstance(head, FCOSHead) else RankRetinaNetHead)
        if isinstance(head, FCOSHead):
            head.regression_head.bbox_ctrness.requires_grad_(False)
        head.criterion = criterion
        add_calibration(self)

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], *anchors_and_sizes: Any
    ) -> Any:
        """Return the detections, with calibrated scores."""
        plain: Any = super()
        logits = [self.calibration(x) for x in head_outputs["cls_logits"]]
        outputs = {**head_outputs, "cls_logits": logits}
        if "bbox_ctrness" in outputs:
            # FCOS scores by sqrt(sigmoid(logit) * sigmoid(centre-ness)): with the logit in both
            # places that is sigmoid(logit), the score that was trained.
            outputs["bbox_ctrness"] = logits
        return plain.postprocess_detections(outputs, *anchors_and_sizes)


class RankRetinaNet(_Dense, RetinaNet):
    """torchvision's RetinaNet, trained by ranking.

    Args:
        backbone: as for torchvision's class, and so are all further keyword arguments.
        num_classes: classes, the background included.
        loss: "rank_sort", "ap", "alrp" or a :class:`Criterion`.
        score_thresh: detections must score above this. 0 by default: where the scores of a ranking
            loss end up is chance, see :func:`calibrate`.
        criterion: settings of the criterion, as ``{"rank_over": "image"}``.

    Source of the model: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """


class RankFCOS(_Dense, FCOS):
    """torchvision's FCOS, trained by ranking and without its centre-ness head.

    That head stays in the ``state_dict``, frozen. Arguments as for :class:`RankRetinaNet`.

    Source of the model: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019.
    """


class _SSD(_Losses, Ranked):
    calibration: Calibration
    first_class = 1  # no negative is mined, all are ranked; the background has no score
    box_coder: Any
    score_thresh: float
    nms_thresh: float
    detections_per_img: int

    def rank_by(self, criterion: Criterion) -> None:
        self.criterion = criterion
        add_calibration(self)

    def decoder(self) -> Any:
        return self.box_coder.decode_single

    def postprocess_detections(
        self,
        head_outputs: Mapping[str, Tensor],
        image_anchors: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Return the detections; the background has no score."""
        scores = self.calibration(head_outputs["cls_logits"][..., 1:]).sigmoid()
        limits = Limits(self.score_thresh, self.nms_thresh, self.detections_per_img)
        return [
            detections(decode(self.decoder(), codes, a)[0][:, None], s, size, limits)
            for codes, a, s, size in zip(
                head_outputs["bbox_regression"], image_anchors, scores, image_shapes, strict=True
            )
        ]


class RankSSD(_SSD, SSD):
    """torchvision's SSD, trained by ranking: a sigmoid for each class, no mining of negatives.

    The column of the background stays in the weights and is not used.

    Args:
        backbone: as for torchvision's class, and so are all further keyword arguments.
        anchor_generator: of torchvision's kind.
        size: width and height that images are scaled to.
        num_classes: classes, the background included.
        loss: "rank_sort", "ap", "alrp" or a :class:`Criterion`.
        score_thresh: detections must score above this, see :class:`RankRetinaNet`.
        criterion: settings of the criterion.

    Source of the model: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.
    """
