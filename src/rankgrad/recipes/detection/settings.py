"""What a training run of a detector depends on."""

from dataclasses import dataclass

from rankgrad.checks import check_choice, check_positive

__all__ = ["BACKBONES", "LOSSES", "MODELS", "DetectionSettings"]

MODELS = ("retinanet", "fcos", "ssd", "faster-rcnn", "mask-rcnn")
LOSSES = ("rank-sort", "ap", "alrp", "focal", "torchvision")
"""Three ranking losses; focal loss with the same GIoU box loss; and what torchvision comes with."""
BACKBONES = ("tiny", "small", "resnet18", "resnet34", "resnet50")
ANCHORS = (1, 3, 9, 18)


@dataclass(frozen=True)
class DetectionSettings:
    """Settings of a run; the data set apart."""

    model: str = "retinanet"
    loss: str = "rank-sort"
    backbone: str = "small"
    epochs: int = 24
    batch_size: int = 4
    size: int = 320
    """Length of the shorter side of an image, in pixels."""
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    """Steps until the learning rate is reached; it then falls as a half cosine."""
    anchors: int = 3
    """Anchors a cell: 1, 3, 9 or 18 (FCOS has points, SSD its own)."""
    rank_over: str = "batch"
    proposals: int = 300
    """Boxes of the first stage that the second looks at, in two-stage models."""
    masks: str = "file"
    """For Mask R-CNN: "file", or "ellipse" for the ellipse in each box."""
    flip: bool = True
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("model", self.model, MODELS)
        check_choice("loss", self.loss, LOSSES)
        check_choice("backbone", self.backbone, BACKBONES)
        check_choice("rank_over", self.rank_over, ("batch", "image", "class"))
        check_choice("masks", self.masks, ("file", "ellipse"))
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        if self.anchors not in ANCHORS:
            raise ValueError(f"anchors must be one of {ANCHORS}, got {self.anchors}")
        for name in ("epochs", "batch_size", "size", "lr", "proposals"):
            check_positive(name, getattr(self, name))
        check_positive("weight_decay", self.weight_decay, zero_allowed=True)
        check_positive("warmup", self.warmup, zero_allowed=True)
        if self.loss == "focal" and self.model in ("faster-rcnn", "mask-rcnn"):
            raise ValueError(
                f"loss focal is for one-stage models, got model {self.model}; its own loss, "
                "cross-entropy, is loss torchvision"
            )

    @property
    def ranks(self) -> bool:
        """Whether the loss is one of ours."""
        return self.loss in ("rank-sort", "ap", "alrp")
