"""torchvision's detectors, trained with Rank & Sort, AP or aLRP loss. Needs torchvision."""

from rankgrad.integrations.torchvision.calibration import Calibration, calibrate
from rankgrad.integrations.torchvision.conversion import convert
from rankgrad.integrations.torchvision.criteria import (
    ALRPCriterion,
    APCriterion,
    Criterion,
    RankSortCriterion,
)
from rankgrad.integrations.torchvision.factories import (
    rank_fasterrcnn_mobilenet_v3_large_fpn,
    rank_fasterrcnn_resnet50_fpn,
    rank_fasterrcnn_resnet50_fpn_v2,
    rank_fcos_resnet50_fpn,
    rank_maskrcnn_resnet50_fpn,
    rank_maskrcnn_resnet50_fpn_v2,
    rank_retinanet_resnet50_fpn,
    rank_retinanet_resnet50_fpn_v2,
    rank_ssd300_vgg16,
    rank_ssdlite320_mobilenet_v3_large,
)
from rankgrad.integrations.torchvision.one_stage import RankFCOS, RankRetinaNet, RankSSD
from rankgrad.integrations.torchvision.two_stage import RankFasterRCNN, RankMaskRCNN

__all__ = [
    "ALRPCriterion",
    "APCriterion",
    "Calibration",
    "Criterion",
    "RankFCOS",
    "RankFasterRCNN",
    "RankMaskRCNN",
    "RankRetinaNet",
    "RankSSD",
    "RankSortCriterion",
    "calibrate",
    "convert",
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
