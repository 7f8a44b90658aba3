"""Builds torchvision's detectors on backbones that can be trained from scratch."""

from collections import OrderedDict
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from rankgrad.integrations.torchvision import convert
from rankgrad.integrations.torchvision.calibration import set_score_threshold
from rankgrad.recipes.detection.focal import FocalCriterion
from rankgrad.recipes.detection.settings import DetectionSettings

__all__ = ["build_detector"]

# Kept in an image, as COCO's metric does.
DETECTIONS = 100
LEVELS = 3
STRIDES = tuple(8 * 2**i for i in range(LEVELS))


def build_detector(settings: DetectionSettings, num_classes: int, epoch_steps: int) -> nn.Module:
    """Return an untrained detector; ``num_classes`` counts the background."""
    model = _BUILDERS[settings.model](settings, num_classes)
    if settings.loss == "focal":
        convert(model, FocalCriterion())
    elif settings.ranks:
        extra: dict[str, Any] = {"rank_over": settings.rank_over}
        if settings.loss == "alrp":
            extra["epoch_steps"] = epoch_steps
        convert(model, settings.loss.replace("-", "_"), **extra)
    set_score_threshold(model, 0.0)
    return model


class SmallBackbone(nn.Module):
    """Convolutions with batch normalisation, to strides 8, 16 and 32, under a feature pyramid.

    Args:
        channels: at strides 2, 4, 8, 16 and 32.
        out_channels: of each level of the pyramid.
    """

    def __init__(self, channels: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        blocks, before = [], 3
        for stage, width in enumerate(channels):
            layers = [_conv(before, width, stride=2)]
            if stage:
                layers.append(_conv(width, width))
            blocks.append(nn.Sequential(*layers))
            before = width
        self.stages = nn.ModuleList(blocks)
        self.pyramid = FeaturePyramidNetwork(list(channels[-LEVELS:]), out_channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps "0", "1" and "2", the finest first."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for stage, block in enumerate(self.stages):
            x = block(x)
            if stage >= len(self.stages) - LEVELS:
                maps[str(len(maps))] = x
        found: dict[str, Tensor] = self.pyramid(maps)
        return found


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _backbone(settings: DetectionSettings) -> Any:
    if settings.backbone == "tiny":
        return SmallBackbone((8, 8, 16, 16, 16), 16)
    if settings.backbone == "small":
        return SmallBackbone((16, 32, 64, 96, 128), 48)
    return detection.backbone_utils.resnet_fpn_backbone(
        backbone_name=settings.backbone,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=_no_extra(),
    )


def _no_extra() -> Any:
    from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

    class NoExtra(ExtraFPNBlock):
        """Adds no level to the pyramid (torchvision adds one by default)."""

        def forward(self, results: Any, x: Any, names: Any) -> Any:
            return results, names

    return NoExtra()


def _anchors(settings: DetectionSettings) -> AnchorGenerator:
    """From twice the stride up, in steps of an octave's part, square or also wide and tall."""
    octaves, ratios = {1: (1, 1), 3: (3, 1), 9: (3, 3), 18: (6, 3)}[settings.anchors]
    sizes = tuple(
        tuple(round(2 * stride * 2 ** (i / octaves), 2) for i in range(octaves))
        for stride in STRIDES
    )
    return AnchorGenerator(sizes, ((1.0,) if ratios == 1 else (0.5, 1.0, 2.0),) * LEVELS)


def _sizes(settings: DetectionSettings) -> dict[str, Any]:
    # The data set scales the images; the model leaves them as they come.
    return {"min_size": settings.size, "max_size": 100 * settings.size}


def _retinanet(settings: DetectionSettings, num_classes: int) -> nn.Module:
    backbone, anchors = _backbone(settings), _anchors(settings)
    norm = partial(nn.GroupNorm, 8)
    head = RetinaNetHead(
        backbone.out_channels, anchors.num_anchors_per_location()[0], num_classes, norm_layer=norm
    )
    made: nn.Module = RetinaNet(
        backbone,
        num_classes,
        anchor_generator=anchors,
        head=head,
        detections_per_img=DETECTIONS,
        **_sizes(settings),
    )
    return made


def _fcos(settings: DetectionSettings, num_classes: int) -> nn.Module:
    backbone = _backbone(settings)
    points = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * LEVELS)
    model: nn.Module = FCOS(
        backbone,
        num_classes,
        anchor_generator=points,
        head=_fcos_head(backbone.out_channels, num_classes),
        detections_per_img=DETECTIONS,
        **_sizes(settings),
    )
    return model


def _fcos_head(channels: int, num_classes: int) -> Any:
    """FCOS's head, whose own normalisation wants a multiple of 32 channels, with groups of 8."""
    from torchvision.models.detection.fcos import (
        FCOSClassificationHead,
        FCOSHead,
        FCOSRegressionHead,
    )

    norm = partial(nn.GroupNorm, 8)
    head = FCOSHead(32, 1, num_classes)
    head.classification_head = FCOSClassificationHead(channels, 1, num_classes, norm_layer=norm)
    head.regression_head = FCOSRegressionHead(channels, 1, norm_layer=norm)
    return head


def _ssd(settings: DetectionSettings, num_classes: int) -> nn.Module:
    backbone = _backbone(settings)
    backbone.out_channels = [backbone.out_channels] * LEVELS
    boxes = DefaultBoxGenerator([[2]] * LEVELS, min_ratio=8, max_ratio=80)
    side = settings.size
    model: nn.Module = SSD(
        backbone, boxes, (side, side), num_classes, detections_per_img=DETECTIONS
    )
    return model


def _two_stages(settings: DetectionSettings, num_classes: int) -> dict[str, Any]:
    backbone = _backbone(settings)
    names = [str(level) for level in range(LEVELS)]
    width = 4 * backbone.out_channels
    return {
        "backbone": backbone,
        "rpn_anchor_generator": _anchors(settings),
        "rpn_pre_nms_top_n_train": 2 * settings.proposals,
        "rpn_pre_nms_top_n_test": 2 * settings.proposals,
        "rpn_post_nms_top_n_train": settings.proposals,
        "rpn_post_nms_top_n_test": settings.proposals,
        "box_roi_pool": MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(backbone.out_channels * 49, width),
        "box_predictor": FastRCNNPredictor(width, num_classes),
        "box_detections_per_img": DETECTIONS,
        **_sizes(settings),
    }


def _faster_rcnn(settings: DetectionSettings, num_classes: int) -> nn.Module:
    model: nn.Module = FasterRCNN(**_two_stages(settings, num_classes))
    return model


def _mask_rcnn(settings: DetectionSettings, num_classes: int) -> nn.Module:
    parts = _two_stages(settings, num_classes)
    channels = parts["backbone"].out_channels
    names = [str(level) for level in range(LEVELS)]
    model: nn.Module = MaskRCNN(
        **parts,
        mask_roi_pool=MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(channels, (channels, channels), 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
    )
    return model


_BUILDERS = {
    "retinanet": _retinanet,
    "fcos": _fcos,
    "ssd": _ssd,
    "faster-rcnn": _faster_rcnn,
    "mask-rcnn": _mask_rcnn,
}
