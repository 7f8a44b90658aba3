"""Training one method with one seed: the plain loop that studies run, without a framework."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankgrad.data.regression.samples import RegressionData, Samples
from rankgrad.recipes.experiments.study import Outcome, Report
from rankgrad.recipes.regression.loading import DataSettings, load_data, regions_of
from rankgrad.recipes.regression.methods import RegressionMethod
from rankgrad.recipes.regression.metrics import REGIONS, balanced_mae, regression_metrics
from rankgrad.recipes.regression.models import Regressor, build_regressor
from rankgrad.recipes.regression.objective import Objective

__all__ = [
    "RegressionSettings",
    "drops",
    "evaluate",
    "learning_rate_schedule",
    "make_optimizer",
    "region_masks",
    "train",
]

OPTIMIZERS = ("adamw", "adam", "sgd")
# An evaluation batch: no gradients, so it may be larger than one in training.
_EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class RegressionSettings:
    """What all methods of a study share.

    ``schedule`` is "one-cycle", "cosine", "constant" or "steps:60,80", which divides the learning
    rate by ten at these epochs. ``select`` says which model is tested: that of the "best" epoch,
    by the label-balanced validation error, or the "last".
    """

    data: DataSettings = field(default_factory=DataSettings)
    model: str = "auto"
    head: str | None = None
    epochs: int = 60
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    schedule: str = "one-cycle"
    clip_norm: float | None = None
    scale_labels: bool = True
    select: str = "best"
    # Stop after so many epochs without a better one; 0 never does
    patience: int = 0


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


def train(
    settings: RegressionSettings, method: RegressionMethod, seed: int, report: Report
) -> Outcome:
    """Train one method with one seed.

    Data, initial weights and the order of the batches depend on the seed alone, so that methods
    can be compared seed by seed.
    """
    data = load_data(settings.data, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_regressor(settings.model, data, method, settings.head)
        objective = Objective(method, data, scale=settings.scale_labels)
        history = _Fit(settings, method, data, model, objective, seed, report).run()
    return _outcome(settings, data, model, objective, history)


class _Fit:
    """One run."""

    def __init__(
        self,
        settings: RegressionSettings,
        method: RegressionMethod,
        data: RegressionData,
        model: Regressor,
        objective: Objective,
        seed: int,
        report: Report,
    ) -> None:
        self.settings, self.method, self.data = settings, method, data
        self.model, self.objective, self.report = model, objective, report
        self.order = torch.Generator().manual_seed(seed)
        self.total = settings.epochs + method.retrain
        self.val_bins = data.bins.index(data.val.targets).numpy()
        self.history: list[dict[str, int | float]] = []

    def run(self) -> list[dict[str, int | float]]:
        """Train, in two stages where the method says so; the chosen weights stay in the model."""
        self._stage(self.settings.epochs)
        if self.method.retrain:
            self.model.retrain_head()
            self.objective.second_stage = True
            self._stage(self.method.retrain)
        return self.history

    def _stage(self, epochs: int) -> None:
        steps = math.ceil(len(self.data.train) / self.settings.batch_size)
        parameters = [*self.model.parameters(), *self.objective.parameters()]
        optimizer = make_optimizer(parameters, self.settings, self.method)
        schedule = learning_rate_schedule(optimizer, self.settings, epochs, steps)
        best, since = math.inf, 0
        state: dict[str, Any] | None = None
        for epoch in range(epochs):
            loss = self._epoch(epoch, optimizer, schedule)
            error = self._validate(loss)
            if error < best:
                best, since = error, 0
                if self.settings.select == "best":
                    state = copy.deepcopy(self.model.state_dict())
            else:
                since += 1
            if self.settings.patience and since >= self.settings.patience:
                break
        if state is not None:
            self.model.load_state_dict(state)

    def _epoch(
        self,
        epoch: int,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> float:
        self.model.train()
        data, total = self.data.train, 0.0
        shuffled = torch.randperm(len(data), generator=self.order)
        for rows in torch.split(shuffled, self.settings.batch_size):
            batch = data.batch(rows)
            optimizer.zero_grad()
            output = self.model(batch.inputs, batch.targets)
            loss, _ = self.objective(output, batch, epoch)
            loss.backward()
            if self.settings.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            optimizer.step()
            schedule.step()
            if self.model.fds is not None:
                self.model.fds.observe(output.features, batch.targets)
            total += loss.item() * len(rows)
        if self.model.fds is not None:
            self.model.fds.step()
        return total / len(data)

    def _validate(self, loss: float) -> float:
        predictions, _ = evaluate(self.model, self.objective, self.data.val)
        targets = self.data.val.targets.numpy()
        error = balanced_mae(predictions, targets, self.val_bins)
        done = len(self.history) + 1
        self.history.append({"epoch": done, "train_loss": loss, "val_mae": error})
        self.report(done / self.total, f"epoch {done}/{self.total}, val MAE {error:.3g}")
        return error


@torch.no_grad()
def evaluate(
    model: Regressor, objective: Objective, samples: Samples
) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions in the unit of the labels, and features."""
    model.eval()
    outputs = [model(inputs) for inputs in _batches(samples)]
    predictions = objective.to_labels(torch.cat([o.predictions for o in outputs]).float())
    return predictions.numpy(), torch.cat([o.features for o in outputs]).float().numpy()


def _batches(samples: Samples) -> Iterator[Any]:
    for rows in torch.split(torch.arange(len(samples)), _EVALUATION_BATCH):
        yield samples.inputs(rows)


def region_masks(bins: Tensor, regions: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return for each region which samples belong to it, by their label bins."""
    names = np.array(regions)[bins.numpy()]
    return {r: np.ones(len(names), dtype=bool) if r == "all" else names == r for r in REGIONS}


def _outcome(
    settings: RegressionSettings,
    data: RegressionData,
    model: Regressor,
    objective: Objective,
    history: list[dict[str, int | float]],
) -> Outcome:
    predictions, features = evaluate(model, objective, data.test)
    targets, bins = data.test.targets, data.bins.index(data.test.targets)
    _, regions = regions_of(data, settings.data)
    metrics, notes = regression_metrics(predictions, targets.numpy(), region_masks(bins, regions))
    metrics["mae_balanced"] = balanced_mae(predictions, targets.numpy(), bins.numpy())
    metrics["val_mae_balanced"] = min(row["val_mae"] for row in history)
    arrays = {
        "predictions": predictions,
        "targets": targets.numpy(),
        # Where the label bins of the test samples stand: for figures along the labels.
        "labels": data.bins.positions()[bins].numpy(),
        "bins": bins.numpy(),
        "features": features.astype(np.float32),
        "train_counts": data.train_counts.numpy(),
        "positions": data.bins.positions().numpy(),
    }
    return Outcome(metrics, history, arrays, notes, model.state_dict())
