"""Share of a detector's training step that the loss takes: N = 217,728 logits, some 900 positives.

RetinaNet with the recipes' small backbone, 8 images of 192 x 256, 9 anchors a cell, 3 classes.
Processor time, forward and backward.

    python benchmarks/detection_step.py [--threads N] [--repeats N]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rankgrad.bench.suites.detection import textbook
from rankgrad.recipes.detection.models import build_detector
from rankgrad.recipes.detection.settings import DetectionSettings

IMAGES, HEIGHT, WIDTH, OBJECTS, CLASSES = 8, 192, 256, 14, 3


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Random images with boxes in the sizes of blood cells at this scale."""
    generator = torch.Generator().manual_seed(0)
    images = list(torch.rand(IMAGES, 3, HEIGHT, WIDTH, generator=generator))
    targets = []
    for _ in range(IMAGES):
        labels = torch.randint(CLASSES, (OBJECTS,), generator=generator)
        side = torch.tensor([16.0, 42.0, 82.0])[labels, None] * torch.empty(OBJECTS, 2).uniform_(
            0.8, 1.2, generator=generator
        )
        corner = torch.rand(OBJECTS, 2, generator=generator) * (
            torch.tensor([WIDTH, HEIGHT]) - side
        )
        targets.append({"boxes": torch.cat((corner, corner + side), 1), "labels": labels})
    return images, targets


def clock(run: Callable[[], Any], repeats: int) -> float:
    """Median of so many calls, in milliseconds of processor time: a busy machine does not count."""
    run()
    spans = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spans.append(1e3 * (time.process_time() - start))
    return statistics.median(spans)


def measure(loss: str, repeats: int) -> str:
    """Return the line on one loss."""
    torch.manual_seed(0)
    settings = DetectionSettings(anchors=9, size=HEIGHT, loss=loss)
    model: Any = build_detector(settings, CLASSES, 100).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images, targets = batch()
    criterion = model.head.criterion
    seen: dict[str, Any] = {}
    hook = criterion.register_forward_pre_hook(lambda _, inputs: seen.update(inputs=inputs))

    def step() -> None:
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()

    # A few steps, so that scores are those of training and not of the first moment.
    for _ in range(3):
        step()
    whole = clock(step, repeats)
    hook.remove()
    logits, matches, predicted, sound = seen["inputs"]
    logits, predicted = (x.detach().requires_grad_() for x in (logits, predicted))

    def loss_alone() -> Any:
        losses = criterion(logits, matches, predicted, sound)
        return torch.autograd.grad(sum(losses), (logits, predicted))

    part = clock(loss_alone, 3 * repeats)
    line = (
        f"{loss:>10}: N = {logits.numel():,}, P = {matches.rows.numel():,}: step {whole:.0f} ms, "
        f"both losses {part:.1f} ms, {100 * part / whole:.1f} % of the step"
    )
    if loss == "rank-sort":
        quality = torch.zeros_like(logits.detach())
        quality[matches.rows, matches.classes] = 0.7
        quality[matches.ignored] = -1.0
        flat, labels = logits.detach().flatten(), quality.flatten()
        loop = clock(lambda: textbook(flat, labels), 1)
        share = 100 * loop / (whole - part + loop)
        line += f"; a loop over positives: {loop:.0f} ms, {share:.0f} %"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for loss in ("rank-sort", "ap", "alrp", "focal"):
        print(measure(loss, options.repeats), flush=True)


if __name__ == "__main__":
    main()
