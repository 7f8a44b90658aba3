"""Optimizers and learning-rate schedules by name."""

from collections.abc import Iterable

import torch
from torch import nn

from rankgrad.recipes.regression.method import RegressionMethod
from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = ["drops", "learning_rate_schedule", "make_optimizer"]


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: RegressionSettings, method: RegressionMethod
) -> torch.optim.Optimizer:
    """Return the optimizer, with the method's own rates where tuning has chosen some."""
    lr = method.learning_rate if method.learning_rate is not None else settings.learning_rate
    decay = method.weight_decay if method.weight_decay is not None else settings.weight_decay
    trained = [p for p in parameters if p.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=lr, momentum=0.9, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    # Twice as fast for small networks; under mixed precision it cannot be clipped.
    fused = trained[0].device.type == "cpu" and not settings.clip_norm
    return kind(trained, lr=lr, weight_decay=decay, fused=fused)


def drops(schedule: str) -> list[int]:
    """Return the epochs in which a schedule of steps drops; none for the others.

    Raises:
        ValueError: there is no such schedule.

    >>> drops("steps:60,80")
    [60, 80]
    """
    if schedule in ("one-cycle", "cosine", "constant"):
        return []
    kind, _, text = schedule.partition(":")
    epochs = text.split(",")
    if kind != "steps" or not all(epoch.isdecimal() for epoch in epochs):
        raise ValueError(
            f"schedule must be one-cycle, cosine, constant or steps:60,80, got {schedule!r}"
        )
    return [int(epoch) for epoch in epochs]


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, settings: RegressionSettings, epochs: int, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule, which takes a step a batch; ``steps`` batches are an epoch."""
    total = max(epochs * steps, 1)
    schedules = torch.optim.lr_scheduler
    if settings.schedule == "one-cycle":
        peak = optimizer.param_groups[0]["lr"]
        return schedules.OneCycleLR(optimizer, peak, total_steps=total)
    if settings.schedule == "cosine":
        return schedules.CosineAnnealingLR(optimizer, total)
    if settings.schedule == "constant":
        return schedules.LambdaLR(optimizer, lambda _: 1.0)
    at = [epoch * steps for epoch in drops(settings.schedule)]
    return schedules.MultiStepLR(optimizer, at, gamma=0.1)
