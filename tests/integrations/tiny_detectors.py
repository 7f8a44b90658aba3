"""Small detectors of torchvision, plain and ours, and a batch for them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from rankgrad.integrations import torchvision as ours

SIZE = 64
CLASSES = 3  # the background and two


class Backbone(nn.Module):
    """Two maps, of strides 8 and 16."""

    def __init__(self, out_channels: Any = 32) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.first = nn.Conv2d(3, 32, 8, 8)
        self.second = nn.Conv2d(32, 32, 2, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.first(x).relu()
        return OrderedDict([("0", fine), ("1", self.second(fine).relu())])


def two_stage_parts() -> dict[str, Any]:
    return {
        "rpn_anchor_generator": AnchorGenerator(((16,), (32,)), ((1.0,),) * 2),
        "rpn_post_nms_top_n_train": 40,
        "rpn_post_nms_top_n_test": 40,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1"], 3, 1),
        "box_head": TwoMLPHead(32 * 9, 24),
        "box_predictor": FastRCNNPredictor(24, CLASSES),
        "min_size": SIZE,
        "max_size": SIZE,
    }


def mask_parts() -> dict[str, Any]:
    return {
        "mask_roi_pool": MultiScaleRoIAlign(["0", "1"], 6, 1),
        "mask_head": MaskRCNNHeads(32, (16,), 1),
        "mask_predictor": MaskRCNNPredictor(16, 16, CLASSES),
    }


def anchors() -> AnchorGenerator:
    return AnchorGenerator(((16,), (32,)), ((0.5, 1.0),) * 2)


def points() -> AnchorGenerator:
    return AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)


def sized() -> dict[str, Any]:
    return {"min_size": SIZE, "max_size": SIZE}


def ssd_boxes() -> DefaultBoxGenerator:
    return DefaultBoxGenerator([[2], [2]], min_ratio=20, max_ratio=60)


PLAIN: dict[str, Callable[..., nn.Module]] = {
    "retinanet": lambda **kw: RetinaNet(
        Backbone(), CLASSES, anchor_generator=anchors(), **sized(), **kw
    ),
    "fcos": lambda **kw: FCOS(Backbone(), CLASSES, anchor_generator=points(), **sized(), **kw),
    "ssd": lambda **kw: SSD(Backbone([32, 32]), ssd_boxes(), (SIZE, SIZE), CLASSES, **kw),
    "faster": lambda **kw: FasterRCNN(Backbone(), **two_stage_parts(), **kw),
    "mask": lambda **kw: MaskRCNN(Backbone(), **two_stage_parts(), **mask_parts(), **kw),
}
OURS: dict[str, Callable[..., nn.Module]] = {
    "retinanet": lambda **kw: ours.RankRetinaNet(
        Backbone(), CLASSES, anchor_generator=anchors(), **sized(), **kw
    ),
    "fcos": lambda **kw: ours.RankFCOS(
        Backbone(), CLASSES, anchor_generator=points(), **sized(), **kw
    ),
    "ssd": lambda **kw: ours.RankSSD(Backbone([32, 32]), ssd_boxes(), (SIZE, SIZE), CLASSES, **kw),
    "faster": lambda **kw: ours.RankFasterRCNN(Backbone(), **two_stage_parts(), **kw),
    "mask": lambda **kw: ours.RankMaskRCNN(Backbone(), **two_stage_parts(), **mask_parts(), **kw),
}
MODELS = sorted(OURS)


def made(name: str, makers: dict[str, Callable[..., nn.Module]] = OURS, **kw: Any) -> nn.Module:
    torch.manual_seed(0)
    return makers[name](**kw)


def batch(*, empty: bool = False) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images, the second without boxes; ``empty``: neither has any."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, SIZE, SIZE, generator=generator) for _ in range(2)]
    boxes = torch.tensor([[4.0, 4, 24, 24], [30, 30, 62, 60], [10, 36, 26, 52]])
    masks = torch.zeros(3, SIZE, SIZE)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2] = 1
    full = {"boxes": boxes, "labels": torch.tensor([1, 2, 1]), "masks": masks}
    none = {name: value[:0] for name, value in full.items()}
    return images, [none if empty else full, none]


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([v.float() for v in losses.values()]).sum()
