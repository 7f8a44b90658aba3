"""From a torchvision detector that is already built to one that is trained by ranking."""

from typing import Any

from torch import nn

from rankgrad.integrations.torchvision.calibration import set_score_threshold
from rankgrad.integrations.torchvision.criteria import Criterion, make_criterion
from rankgrad.integrations.torchvision.one_stage import RankFCOS, RankRetinaNet, RankSSD
from rankgrad.integrations.torchvision.ranked import adopt
from rankgrad.integrations.torchvision.two_stage import RankFasterRCNN, RankMaskRCNN

__all__ = ["convert"]

# Each is torchvision's class with ours before it. A Mask R-CNN is also a Faster R-CNN: it is first.
_DETECTORS: tuple[Any, ...] = (RankRetinaNet, RankFCOS, RankSSD, RankMaskRCNN, RankFasterRCNN)


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
    made = make_criterion(loss, **criterion)
    ours = next((known for known in _DETECTORS if isinstance(model, known.__bases__[1])), None)
    if ours is None:
        raise TypeError(
            "model must be torchvision's RetinaNet, FCOS, SSD, Faster R-CNN or Mask R-CNN, got "
            f"{type(model).__name__}"
        )
    ours.rank_by(model, made)
    # With two stages all that changes is in the heads: a class of one's own stays.
    if ours not in (RankFasterRCNN, RankMaskRCNN) or type(model) is ours.__bases__[1]:
        adopt(model, ours)
    set_score_threshold(model, score_thresh)
    return model
