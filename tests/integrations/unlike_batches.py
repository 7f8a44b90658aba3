"""What two workers are given: images without boxes, and a batch in which one has no positive."""

from typing import Any

from torch import Tensor

from integrations.tiny_detectors import MODELS, batch

STEPS = 3
WORLD: dict[str, Any] = {"criterion": {"group": "world"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in MODELS},
    "retinanet together": ("retinanet", WORLD),
    "mask together": ("mask", WORLD),
    "alrp together": ("retinanet", {"loss": "alrp", **WORLD}),
}


def part(step: int, rank: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images, the second without boxes; in step 1 the second worker has no box at all."""
    images, targets = batch(empty=step == 1 and rank == 1)
    return [image.roll(7 * rank + step, -1) for image in images], targets
