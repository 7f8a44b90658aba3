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
from rankgrad.integrations.torchvision.criteria import Criterion, make_criterion
from rankgrad.integrations.torchvision.detections import Limits, detections
from rankgrad.integrations.torchvision.matches import gather_matches

__all__ = ["RankFCOS", "RankFCOSHead", "RankRetinaNet", "RankRetinaNetHead", "RankSSD"]

Targets = Sequence[Mapping[str, Tensor]]


def head_losses(
    criterion: Criterion,
    coder: Any,
    targets: Targets,
    outputs: Mapping[str, Tensor],
    anchors: Sequence[Tensor],
    matched: Sequence[Tensor],
    first_class: int = 0,
) -> dict[str, Tensor]:
    """Return both losses of a head whose outputs are ``[images, anchors, ...]``."""
    logits = outputs["cls_logits"].flatten(0, 1)
    matches = gather_matches(targets, matched, first_class)
    codes = outputs["bbox_regression"].flatten(0, 1)[matches.rows]
    predicted, sound = decode(coder, codes, torch.cat(list(anchors))[matches.rows])
    classification, box = criterion(logits[:, first_class:], matches, predicted, sound)
    return {"classification": classification, "bbox_regression": box}


class _RetinaNetHead(nn.Module):
    criterion: Criterion
    regression_head: Any

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: Mapping[str, Tensor],
        anchors: Sequence[Tensor],
        matched_idxs: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return the losses by name."""
        coder = self.regression_head.box_coder.decode_single
        return head_losses(self.criterion, coder, targets, head_outputs, anchors, matched_idxs)


class _FCOSHead(nn.Module):
    criterion: Criterion
    box_coder: Any

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: Mapping[str, Tensor],
        anchors: Sequence[Tensor],
        matched_idxs: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return the losses by name; there is none for the centre-ness."""
        coder = self.box_coder.decode
        return head_losses(self.criterion, coder, targets, head_outputs, anchors, matched_idxs)


class RankRetinaNetHead(_RetinaNetHead, RetinaNetHead):  # type: ignore[misc]  # torchvision is untyped
    """RetinaNet's head with a ranking criterion."""


class RankFCOSHead(_FCOSHead, FCOSHead):  # type: ignore[misc]  # torchvision is untyped
    """FCOS's head with a ranking criterion."""


class _RetinaNet(nn.Module):
    calibration: Calibration
    head: Any

    def _postprocess(self, outputs: dict[str, list[Tensor]], *rest: Any) -> Any:
        return super().postprocess_detections(outputs, *rest)  # type: ignore[misc]  # of the detector

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], *anchors_and_sizes: Any
    ) -> Any:
        """Return the detections, with calibrated scores."""
        logits = [self.calibration(x) for x in head_outputs["cls_logits"]]
        return self._postprocess({**head_outputs, "cls_logits": logits}, *anchors_and_sizes)


class _FCOS(_RetinaNet):
    def _postprocess(self, outputs: dict[str, list[Tensor]], *rest: Any) -> Any:
        # torchvision scores by sqrt(sigmoid(logit) * sigmoid(centre-ness)): with the logit in both
        # places that is sigmoid(logit), the score that was trained.
        return super()._postprocess({**outputs, "bbox_ctrness": outputs["cls_logits"]}, *rest)


class RankRetinaNet(_RetinaNet, RetinaNet):  # type: ignore[misc]  # torchvision is untyped
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

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        loss: str | Criterion = "rank_sort",
        score_thresh: float = 0.0,
        criterion: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, num_classes, score_thresh=score_thresh, **kwargs)
        rank_dense(self, make_criterion(loss, **criterion or {}))


class RankFCOS(_FCOS, FCOS):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's FCOS, trained by ranking and without its centre-ness head.

    That head stays in the ``state_dict``, frozen. Arguments as for :class:`RankRetinaNet`.

    Source of the model: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        loss: str | Criterion = "rank_sort",
        score_thresh: float = 0.0,
        criterion: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, num_classes, score_thresh=score_thresh, **kwargs)
        rank_dense(self, make_criterion(loss, **criterion or {}))


def rank_dense(model: Any, criterion: Criterion) -> None:
    """Give RetinaNet or FCOS, already of our class, its criterion and its calibration."""
    head = model.head
    if isinstance(model, FCOS):
        adopt(head, _FCOSHead, RankFCOSHead)
        for parameter in head.regression_head.bbox_ctrness.parameters():
            parameter.requires_grad_(False)
    else:
        adopt(head, _RetinaNetHead, RankRetinaNetHead)
    head.criterion = criterion
    add_calibration(model)


def add_calibration(module: Any) -> None:
    """Give it a calibration, unless it has one."""
    if not hasattr(module, "calibration"):
        module.calibration = Calibration().to(next(module.parameters()).device)


def adopt(module: nn.Module, behaviour: type[nn.Module], known: type[nn.Module]) -> None:
    """Give a built module the behaviour of another class, in place; its weights stay.

    The class becomes ``known`` if the module is of the class that this extends, else one made for
    the class that it has.
    """
    base = type(module)
    if isinstance(module, behaviour):
        return
    if base is known.__bases__[1]:
        module.__class__ = known
    else:
        module.__class__ = type(f"Rank{base.__name__}", (behaviour, base), {})


class _SSD(nn.Module):
    calibration: Calibration
    criterion: Criterion
    box_coder: Any
    score_thresh: float
    nms_thresh: float
    detections_per_img: int

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: Mapping[str, Tensor],
        anchors: Sequence[Tensor],
        matched_idxs: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return the losses by name; no negative is mined, all are ranked."""
        coder = self.box_coder.decode_single
        return head_losses(
            self.criterion, coder, targets, head_outputs, anchors, matched_idxs, first_class=1
        )

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
            detections(decode(self.box_coder.decode_single, codes, a)[0][:, None], s, size, limits)
            for codes, a, s, size in zip(
                head_outputs["bbox_regression"], image_anchors, scores, image_shapes, strict=True
            )
        ]


class RankSSD(_SSD, SSD):  # type: ignore[misc]  # torchvision is untyped
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

    def __init__(
        self,
        backbone: nn.Module,
        anchor_generator: Any,
        size: tuple[int, int],
        num_classes: int,
        *,
        loss: str | Criterion = "rank_sort",
        score_thresh: float = 0.0,
        criterion: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone, anchor_generator, size, num_classes, score_thresh=score_thresh, **kwargs
        )
        rank_ssd(self, make_criterion(loss, **criterion or {}))


def rank_ssd(model: Any, criterion: Criterion) -> None:
    """Give SSD, already of our class, its criterion and its calibration."""
    model.criterion = criterion
    add_calibration(model)
