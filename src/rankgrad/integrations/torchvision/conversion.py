"""From a torchvision detector that is already built to one that is trained by ranking."""

from typing import Any

from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from rankgrad.integrations.torchvision import one_stage, two_stage
from rankgrad.integrations.torchvision.calibration import set_score_threshold
from rankgrad.integrations.torchvision.criteria import Criterion, make_criterion

__all__ = ["convert"]


def convert(
    model: nn.Module,
    loss: str | Criterion = "rank_sort",
    *,
    score_thresh: float = 0.0,
    **criterion: Any,
) -> nn.Module:
    """Make a torchvision detector one that is trained by ranking, in place, and return it.

    Its weights, its settings and its ``state_dict`` keys stay. What changes is the loss of the
    heads, which scores detections get (sigmoids, calibrated, see :func:`calibrate`), and from which
    score on they are kept. Converting again changes the loss.

    Args:
        model: torchvision's RetinaNet, FCOS, SSD (also SSDlite), Faster R-CNN or Mask R-CNN, or of
            a class derived from one.
        loss: "rank_sort", "ap", "alrp" or a :class:`Criterion`.
        score_thresh: detections must score above this.
        criterion: settings of the criterion, as ``rank_over="image"``.

    Raises:
        TypeError: the model is none of these.
        ValueError: it has keypoints, or the loss or a setting is unknown.

    >>> from torchvision.models.detection import retinanet_resnet50_fpn
    >>> model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    >>> type(convert(model, loss="alrp", epoch_steps=500)).__name__
    'RankRetinaNet'
    """
    made, detector = make_criterion(loss, **criterion), model
    if isinstance(model, RetinaNet):
        one_stage.adopt(model, one_stage._RetinaNet, one_stage.RankRetinaNet)
        one_stage.rank_dense(model, made)
    elif isinstance(model, FCOS):
        one_stage.adopt(model, one_stage._FCOS, one_stage.RankFCOS)
        one_stage.rank_dense(model, made)
    elif isinstance(model, SSD):
        one_stage.adopt(model, one_stage._SSD, one_stage.RankSSD)
        one_stage.rank_ssd(model, made)
    elif isinstance(model, FasterRCNN):
        two_stage.rank_two_stages(model, made)
        known = {FasterRCNN: two_stage.RankFasterRCNN, MaskRCNN: two_stage.RankMaskRCNN}
        model.__class__ = known.get(type(model), type(model))
    else:
        raise TypeError(
            "model must be torchvision's RetinaNet, FCOS, SSD, Faster R-CNN or Mask R-CNN, got "
            f"{type(model).__name__}"
        )
    set_score_threshold(model, score_thresh)
    return detector
