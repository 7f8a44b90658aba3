"""From logits that only rank to scores that mean something."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.checks import check_choice, check_positive
from rankgrad.integrations.torchvision.state import keep_where_missing
from rankgrad.metrics.detection import match_boxes

__all__ = ["Calibration", "calibrate"]


class Calibration(nn.Module):
    """``score = sigmoid(scale * logit + shift)``, in float32; the order of the logits stays.

    A ranking loss does not change when all logits are shifted: where they end up is chance. The
    two numbers are buffers, so that they are saved with the model. A checkpoint without them, one
    of plain torchvision for instance, leaves them as they are.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        keep_where_missing(self)

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():.4g}, shift={self.shift.item():.4g}"

    def forward(self, logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the calibrated logits."""
        return self.scale * logits.to(self.scale.dtype) + self.shift

    @torch.no_grad()
    def set(self, scale: float, shift: float) -> None:
        """Take these two numbers."""
        self.scale.fill_(check_positive("scale", scale))
        self.shift.fill_(shift)


@torch.no_grad()
def calibrate(
    model: nn.Module,
    batches: Iterable[tuple[Sequence[Tensor], Sequence[Mapping[str, Tensor]]]],
    *,
    method: str = "platt",
    iou: float = 0.5,
    score_thresh: float | None = None,
) -> Calibration:
    """Fit the scores of a detector to how often its detections are right, on validation images.

    A detection is right if it takes a true box of its class at this IoU, in the order of the
    scores. Of all detections on all images the scale and the shift are found that make
    ``sigmoid(scale * logit + shift)`` the likeliest probabilities of being right (Platt scaling;
    with "temperature" the shift is 0). They are stored in the model and saved with it. The order
    of the detections, and so AP, stays.

    Args:
        model: a detector of this package.
        batches: of images and targets, as for training.
        method: "platt" or "temperature".
        iou: from which overlap on a detection is right.
        score_thresh: the score below which the model shall drop detections from now on; by default
            its threshold stays.

    Returns:
        The calibration of the model. Without any right detection, or none but right ones, it is
        left as it was.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    check_choice("method", method, ("platt", "temperature"))
    check_positive("iou", iou)
    found = [module for module in model.modules() if isinstance(module, Calibration)]
    if len(found) != 1:
        raise TypeError(
            f"model must be a detector made by rankgrad.integrations.torchvision, got "
            f"{type(model).__name__}"
        )
    before = found[0].scale.item(), found[0].shift.item()
    logits, right = _outcomes(model, batches, iou)
    # The logits before the calibration that is there already.
    logits = (logits - before[1]) / before[0]
    if 0 < right.sum() < right.numel():
        found[0].set(*_platt(logits, right, shifted=method == "platt"))
    if score_thresh is not None:
        set_score_threshold(model, score_thresh)
    return found[0]


def set_score_threshold(model: nn.Module, threshold: float) -> None:
    """Let the detector drop detections whose score is not above this."""
    at: Any = getattr(model, "roi_heads", model)
    at.score_thresh = float(threshold)


def _outcomes(
    model: nn.Module, batches: Iterable[tuple[Any, Any]], iou: float
) -> tuple[Tensor, Tensor]:
    """Return the logit of every detection on every image, and whether it was right."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits, right = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)]
    try:
        for images, targets in batches:
            found = model([image.to(device) for image in images])
            for detections, target in zip(found, targets, strict=True):
                boxes, scores, labels = (
                    detections[k].float().cpu() for k in ("boxes", "scores", "labels")
                )
                hit = torch.zeros(len(scores), dtype=torch.bool)
                for label in labels.unique():
                    of_class = labels == label
                    truth = target["boxes"].float().cpu()[target["labels"].cpu() == label]
                    _, taken = match_boxes(boxes[of_class], scores[of_class], truth, threshold=iou)
                    hit[of_class] = taken >= 0
                logits.append(torch.logit(scores.double(), eps=1e-12).float())
                right.append(hit)
    finally:
        model.train(training)
    return torch.cat(logits), torch.cat(right)


def _platt(logits: Tensor, right: Tensor, *, shifted: bool) -> tuple[float, float]:
    """Return scale and shift of the likeliest logistic curve, with Platt's softened targets."""
    x, hits = logits.double(), right.double()
    positives, n = hits.sum().item(), hits.numel()
    y = torch.where(right, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    middle, spread = x.mean().item(), max(x.std().item(), 1e-6)
    x = (x - middle) / spread if shifted else x / spread
    ones = torch.ones_like(x)
    basis = torch.stack((x, ones), 1) if shifted else x[:, None]
    w = torch.zeros(basis.shape[1], dtype=torch.float64)
    w[0] = 1.0
    for _ in range(100):  # Newton's steps, damped; a convex problem of one or two unknowns
        p = (basis @ w).sigmoid()
        gradient = basis.T @ (p - y) / n
        curvature = (basis.T * (p * (1 - p))) @ basis / n
        curvature += 1e-9 * torch.eye(len(w), dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        step *= min(1.0, 2.0 / step.abs().max().item()) if step.abs().max() > 0 else 1.0
        w = w - step
        if step.abs().max() < 1e-10:
            break
    scale = w[0].item() / spread
    if not math.isfinite(scale) or scale <= 0:  # the scores say nothing: keep their order
        return 1.0, 0.0
    return scale, (w[1].item() - scale * middle) if shifted else 0.0
