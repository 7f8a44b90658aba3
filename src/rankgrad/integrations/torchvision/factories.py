"""torchvision's ready-made detectors, trained by ranking.

Each takes the arguments of torchvision's function of that name (``weights``, ``num_classes``,
``weights_backbone``, ...) and those of :func:`convert`.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torchvision.models import detection

from rankgrad.integrations.torchvision.conversion import convert
from rankgrad.integrations.torchvision.criteria import Criterion

__all__ = [
    "rank_fasterrcnn_mobilenet_v3_large_fpn",
    "rank_fasterrcnn_resnet50_fpn",
    "rank_fasterrcnn_resnet50_fpn_v2",
    "rank_fcos_resnet50_fpn",
    "rank_maskrcnn_resnet50_fpn",
    "rank_maskrcnn_resnet50_fpn_v2",
    "rank_retinanet_resnet50_fpn",
    "rank_retinanet_resnet50_fpn_v2",
    "rank_ssd300_vgg16",
    "rank_ssdlite320_mobilenet_v3_large",
]

Loss = str | Criterion
Settings = Mapping[str, Any] | None


def _made(name: str, loss: Loss, criterion: Settings, score_thresh: float, rest: Any) -> nn.Module:
    model = getattr(detection, name)(**rest)
    return convert(model, loss, score_thresh=score_thresh, **criterion or {})


def rank_retinanet_resnet50_fpn(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's RetinaNet on a ResNet-50 and an FPN, trained by ranking."""
    return _made("retinanet_resnet50_fpn", loss, criterion, score_thresh, kwargs)


def rank_retinanet_resnet50_fpn_v2(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's improved RetinaNet on a ResNet-50 and an FPN, trained by ranking."""
    return _made("retinanet_resnet50_fpn_v2", loss, criterion, score_thresh, kwargs)


def rank_fcos_resnet50_fpn(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's FCOS on a ResNet-50 and an FPN, trained by ranking."""
    return _made("fcos_resnet50_fpn", loss, criterion, score_thresh, kwargs)


def rank_ssd300_vgg16(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's SSD300 on a VGG-16, trained by ranking."""
    return _made("ssd300_vgg16", loss, criterion, score_thresh, kwargs)


def rank_ssdlite320_mobilenet_v3_large(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's SSDlite on a MobileNetV3, trained by ranking."""
    return _made("ssdlite320_mobilenet_v3_large", loss, criterion, score_thresh, kwargs)


def rank_fasterrcnn_resnet50_fpn(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's Faster R-CNN on a ResNet-50 and an FPN, trained by ranking."""
    return _made("fasterrcnn_resnet50_fpn", loss, criterion, score_thresh, kwargs)


def rank_fasterrcnn_resnet50_fpn_v2(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's improved Faster R-CNN on a ResNet-50 and an FPN, trained by ranking."""
    return _made("fasterrcnn_resnet50_fpn_v2", loss, criterion, score_thresh, kwargs)


def rank_fasterrcnn_mobilenet_v3_large_fpn(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's Faster R-CNN on a MobileNetV3 and an FPN, trained by ranking."""
    return _made("fasterrcnn_mobilenet_v3_large_fpn", loss, criterion, score_thresh, kwargs)


def rank_maskrcnn_resnet50_fpn(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's Mask R-CNN on a ResNet-50 and an FPN, trained by ranking."""
    return _made("maskrcnn_resnet50_fpn", loss, criterion, score_thresh, kwargs)


def rank_maskrcnn_resnet50_fpn_v2(
    *,
    loss: Loss = "rank_sort",
    criterion: Settings = None,
    score_thresh: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Return torchvision's improved Mask R-CNN on a ResNet-50 and an FPN, trained by ranking."""
    return _made("maskrcnn_resnet50_fpn_v2", loss, criterion, score_thresh, kwargs)
