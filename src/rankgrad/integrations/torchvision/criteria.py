"""What a detector's head is trained with: one ranking loss for its scores, one for its boxes."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive
from rankgrad.distributed import Group
from rankgrad.integrations.torchvision.boxes import paired_iou
from rankgrad.integrations.torchvision.matches import Matches
from rankgrad.integrations.torchvision.state import keep_where_missing
from rankgrad.losses.detection import APLoss, EpochBalance, RankSortLoss, alrp, balance

__all__ = ["ALRPCriterion", "APCriterion", "Criterion", "RankSortCriterion", "make_criterion"]

# The lowest target of a positive: a box that misses its truth altogether is still to be found.
FLOOR = 1e-6


class Criterion(nn.Module, ABC):
    """Two losses of one head: that of its scores and that of its boxes.

    A NaN among the logits is left out, and so is the box of a code that is not finite; ``parts``
    counts both as "broken", so that a training loop can stop. Without positives both losses are 0
    and still have a graph.

    Args:
        rank_over: what is ranked together: "batch" (as published), "image" or "class".
        group: the workers whose logits are ranked together, see
            :func:`~rankgrad.functional.rank_sort`.
    """

    parts: dict[str, Tensor]
    weighs_boxes = True
    """Whether the box loss takes its weights from the scores (else all boxes count alike)."""

    def __init__(self, rank_over: str = "batch", group: Group = None) -> None:
        super().__init__()
        check_choice("rank_over", rank_over, ("batch", "image", "class"))
        self.rank_over = rank_over
        self.group = group
        self.parts = {}

    def extra_repr(self) -> str:
        return f"rank_over={self.rank_over!r}"

    @abstractmethod
    def losses(
        self, logits: Tensor, targets: Tensor, segments: Tensor | None, positives: "Located"
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the loss of the scores, that of the boxes, and parts of them for a log.

        ``targets`` has the shape of ``logits``: the IoU at positives, 0 at negatives, -1 elsewhere.
        """

    def forward(
        self,
        logits: Float[Tensor, "n c"],
        matches: Matches,
        predicted: Float[Tensor, "p 4"],
        sound: Bool[Tensor, " p"],
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the scores and the loss of the boxes.

        Args:
            logits: scores of every anchor for every class.
            matches: the positives among them.
            predicted: the box of each positive.
            sound: which of these are boxes at all, see :func:`decode`.
        """
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nan = x.detach().isnan()
        broken = nan.sum() + (~sound).sum()
        ignored = matches.ignored[:, None]
        if nan.any():
            x, ignored = torch.where(nan, 0.0, x), nan | ignored
            kept = ~nan[matches.rows, matches.classes]
            matches, predicted, sound = matches.only(kept), predicted[kept], sound[kept]
        iou, giou = paired_iou(predicted, matches.boxes.to(predicted.dtype))
        quality = torch.where(sound, iou.detach(), 0.0).clamp(FLOOR, 1.0)
        targets = torch.zeros_like(x, requires_grad=False).masked_fill_(ignored, -1.0)
        targets[matches.rows, matches.classes] = quality.to(x.dtype)
        weights = sound.to(giou.dtype)
        if self.weighs_boxes:
            weights = weights * x.detach()[matches.rows].sigmoid().amax(1)
        located = Located(torch.where(sound, 1 - giou, 0.0), weights)
        classification, box, parts = self.losses(x, targets, self._segments(x, matches), located)
        self.parts = {**parts, "broken": broken}
        return classification, box

    def _segments(self, logits: Tensor, matches: Matches) -> Tensor | None:
        if self.rank_over == "image":
            return matches.images[:, None].expand(logits.shape).contiguous()
        if self.rank_over == "class":
            columns = torch.arange(logits.shape[1], device=logits.device)
            return columns.expand(logits.shape).contiguous()
        return None


class Located:
    """How far the boxes of the positives are off, and how much each counts."""

    def __init__(self, errors: Tensor, weights: Tensor) -> None:
        self.errors = errors
        """``1 - GIoU`` of each."""
        self.weights = weights

    def mean(self) -> Tensor:
        """The weighted mean error; 0 with a graph if there is none."""
        total = self.weights.sum().clamp(min=torch.finfo(self.weights.dtype).tiny)
        return (self.errors * self.weights / total).sum()


class RankSortCriterion(Criterion):
    """Rank & Sort on the scores, with the IoU of the predicted boxes as targets; GIoU on the boxes.

    The box loss is weighted by the scores and balanced with the loss of the scores in every step
    (:func:`rankgrad.balance`), so that there is nothing to tune.

    Args:
        delta: half width of the ramp.
        rank_over: what is ranked together: "batch" (as published), "image" or "class".
        group: the workers whose logits are ranked together.

    Source: Oksuz, Cam, Akbas & Kalkan, "Rank & Sort Loss for Object Detection and Instance
    Segmentation", ICCV 2021.
    """

    def __init__(self, delta: float = 0.5, rank_over: str = "batch", group: Group = None) -> None:
        super().__init__(rank_over, group)
        self.loss = RankSortLoss(delta, group=group)

    def losses(
        self, logits: Tensor, targets: Tensor, segments: Tensor | None, positives: Located
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        classification = self.loss(logits, targets, segments)
        return classification, balance(positives.mean(), classification), self.loss.parts


class APCriterion(Criterion):
    """AP loss on the scores; GIoU on the boxes, all alike.

    Args:
        delta: half width of the ramp.
        box_weight: factor of the box loss; the paper takes 1.
        rank_over: what is ranked together: "batch" (as published), "image" or "class".
        group: the workers whose logits are ranked together.

    Source: Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019,
    there with smooth L1 on the boxes.
    """

    weighs_boxes = False

    def __init__(
        self,
        delta: float = 1.0,
        box_weight: float = 1.0,
        rank_over: str = "batch",
        group: Group = None,
    ) -> None:
        super().__init__(rank_over, group)
        self.loss = APLoss(delta, group=group)
        self.box_weight = check_positive("box_weight", box_weight)

    def losses(
        self, logits: Tensor, targets: Tensor, segments: Tensor | None, positives: Located
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        classification = self.loss(logits, torch.where(targets > 0, 1.0, targets), segments)
        return classification, self.box_weight * positives.mean(), {}


class ALRPCriterion(Criterion):
    """aLRP: its classification part on the scores, its localisation part on the boxes.

    The localisation part is weighted by :class:`rankgrad.EpochBalance`, whose state is part of the
    ``state_dict``.

    Args:
        delta: half width of the ramp.
        epoch_steps: steps after which the balance is renewed.
        rank_over: what is ranked together: "batch" (as published), "image" or "class".
        group: the workers whose logits are ranked together.

    Source: Oksuz, Cam, Akbas & Kalkan, "A Ranking-based, Balanced Loss Function Unifying
    Classification and Localisation in Object Detection", NeurIPS 2020.
    """

    weighs_boxes = False

    def __init__(
        self,
        delta: float = 1.0,
        epoch_steps: int = 1000,
        rank_over: str = "batch",
        group: Group = None,
    ) -> None:
        super().__init__(rank_over, group)
        self.delta = check_positive("delta", delta, zero_allowed=True)
        self.balance = EpochBalance(epoch_steps)
        keep_where_missing(self)

    def losses(
        self, logits: Tensor, targets: Tensor, segments: Tensor | None, positives: Located
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        parts = alrp(
            logits,
            torch.where(targets > 0, 1.0, targets),
            positives.errors.to(logits.dtype),
            delta=self.delta,
            segments=segments,
            group=self.group,
        )
        weight = self.balance.weight
        if self.training:
            self.balance.update(parts.classification, parts.localization)
        seen = {
            "classification": parts.classification.detach(),
            "localization": parts.localization.detach(),
            "weight": logits.new_tensor(weight),
        }
        return parts.classification, weight * parts.localization, seen

    def get_extra_state(self) -> dict[str, Any]:
        return dict(self.balance.state_dict())

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.balance.load_state_dict(state)


_CRITERIA: dict[str, type[Criterion]] = {
    "rank_sort": RankSortCriterion,
    "ap": APCriterion,
    "alrp": ALRPCriterion,
}


def make_criterion(loss: str | Criterion, **settings: Any) -> Criterion:
    """Return the criterion of a name, or the one that is given.

    >>> make_criterion("ap", rank_over="class")
    APCriterion(
      rank_over='class'
      (loss): APLoss(delta=1.0, reduction='mean')
    )
    """
    if isinstance(loss, Criterion):
        if settings:
            raise ValueError(
                f"loss is a criterion with settings of its own: {', '.join(settings)} must be set "
                "there"
            )
        return loss
    check_choice("loss", loss, tuple(_CRITERIA))
    return _CRITERIA[loss](**settings)
