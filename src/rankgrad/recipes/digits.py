"""The demonstration: read two-digit numbers whose training labels are far from balanced."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankgrad.data.digits import DigitPairs, digit_pairs, skewed_bell
from rankgrad.imbalance import lds_weights, smoothing_window, weighted_l1, weighted_mse
from rankgrad.losses.rank_n_contrast import rank_n_contrast_loss
from rankgrad.recipes.experiments.study import Outcome, Report, Study
from rankgrad.recipes.regression.metrics import Regions, regression_metrics

__all__ = ["METHODS", "DigitsMethod", "DigitsNet", "DigitsSettings", "digits_study", "train"]


@dataclass(frozen=True)
class DigitsSettings:
    """What all methods share."""

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    channels: tuple[int, int, int] = (8, 16, 64)
    feature_dims: int = 48
    # Training labels: a bell with its peak at `mode` and two widths.
    peak: int = 67
    mode: float = 34.0
    left: float = 10.5
    right: float = 20.5
    val_per_label: int = 4
    test_per_label: int = 10
    many_above: int = 30
    few_below: int = 8
    # Label-distribution smoothing
    lds_window: str = "gaussian"
    lds_size: int = 5
    lds_sigma: float = 2.0
    # Rank-N-Contrast
    temperature: float = 2.0


@dataclass(frozen=True)
class DigitsMethod:
    """What they differ in."""

    name: str
    loss: str
    reweighting: str | None = None
    rank_n_contrast: float = 0.0


METHODS = (
    DigitsMethod("L1", "l1"),
    DigitsMethod("MSE", "mse"),
    DigitsMethod("LDS", "mse", reweighting="sqrt_inverse"),
    DigitsMethod("LDS + RnC", "mse", reweighting="sqrt_inverse", rank_n_contrast=1.0),
)


def digits_study(
    seeds: int = 5,
    *,
    settings: DigitsSettings | None = None,
    methods: tuple[DigitsMethod, ...] = METHODS,
    **changes: Any,
) -> Study:
    """Return the study; ``changes`` are fields of the settings.

    >>> len(digits_study(seeds=2, epochs=3).tasks())
    8
    """
    settings = replace(settings or DigitsSettings(), **changes)
    return Study("digits", settings, methods, tuple(range(seeds)), train)


class DigitsNet(nn.Module):
    """Three convolutions, a feature vector and one number: some 35,000 parameters."""

    def __init__(self, channels: tuple[int, int, int] = (8, 16, 64), feature_dims: int = 48):
        super().__init__()
        a, b, c = channels
        self.body = nn.Sequential(
            # Pooling first: ReLU keeps order, so this is the same with a quarter of the work.
            nn.Conv2d(1, a, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(a, b, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(c * 2 * 4, feature_dims),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(feature_dims, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions ``[n]`` and features ``[n, feature_dims]``."""
        features = self.body(images)
        return self.head(features).squeeze(1), features


def train(settings: DigitsSettings, method: DigitsMethod, seed: int, report: Report) -> Outcome:
    """Train one method with one seed.

    Data, initial weights and the order of the batches depend on the seed alone, so that methods can
    be compared seed by seed. The last epoch's model is tested; nothing is chosen by validation.
    """
    data = _data(settings, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Convolutions of this size are twice as fast on a CPU in this layout.
        net = DigitsNet(settings.channels, settings.feature_dims).to(
            memory_format=torch.channels_last
        )
    objective = _Objective(settings, method, data)
    history = _fit(net, objective, settings, data, seed, report)

    predictions, features = _predict(net, objective, data.test.images)
    targets = data.test.labels.numpy()
    counts = data.train_counts[data.test.labels.long()].numpy()
    regions = Regions(settings.many_above, settings.few_below).split(counts)
    metrics, notes = regression_metrics(predictions, targets, regions)
    arrays = {
        "predictions": predictions,
        "targets": targets,
        "features": features,
        "train_counts": data.train_counts.numpy(),
    }
    return Outcome(metrics, history, arrays, notes, net.state_dict())


@lru_cache(maxsize=2)
def _data(settings: DigitsSettings, seed: int) -> DigitPairs:
    return digit_pairs(
        seed,
        train_counts=skewed_bell(settings.peak, settings.mode, settings.left, settings.right),
        val_per_label=settings.val_per_label,
        test_per_label=settings.test_per_label,
    )


class _Objective:
    """The loss of a method, over labels scaled to mean 0 and deviation 1."""

    def __init__(self, settings: DigitsSettings, method: DigitsMethod, data: DigitPairs) -> None:
        labels = data.train.labels
        self.mean, self.std = labels.mean().item(), labels.std().item()
        self.regress = {"l1": weighted_l1, "mse": weighted_mse}[method.loss]
        self.contrast = method.rank_n_contrast
        self.temperature = settings.temperature
        self.weights: Tensor | None = None
        if method.reweighting:
            self.weights = lds_weights(
                labels,
                reweighting=method.reweighting,
                window=smoothing_window(settings.lds_window, settings.lds_size, settings.lds_sigma),
                num_bins=len(data.train_counts),
            )

    def __call__(
        self, predictions: Tensor, features: Tensor, labels: Tensor, batch: Tensor
    ) -> Tensor:
        weights = None if self.weights is None else self.weights[batch]
        loss = self.regress(predictions, (labels - self.mean) / self.std, weights)
        if self.contrast:
            ranking = rank_n_contrast_loss(features, labels, temperature=self.temperature)
            loss = loss + self.contrast * ranking
        return loss

    def to_labels(self, predictions: Tensor) -> Tensor:
        """Undo the scaling."""
        return predictions * self.std + self.mean


def _fit(
    net: DigitsNet,
    objective: _Objective,
    settings: DigitsSettings,
    data: DigitPairs,
    seed: int,
    report: Report,
) -> list[dict[str, int | float]]:
    images = data.train.images.contiguous(memory_format=torch.channels_last)
    labels = data.train.labels
    steps = math.ceil(len(labels) / settings.batch_size)
    optimizer = torch.optim.AdamW(
        net.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    order = torch.Generator().manual_seed(seed)
    history: list[dict[str, int | float]] = []
    for epoch in range(1, settings.epochs + 1):
        net.train()
        total = 0.0
        shuffled = torch.randperm(len(labels), generator=order)
        for batch in torch.split(shuffled, settings.batch_size):
            optimizer.zero_grad()
            predictions, features = net(images[batch])
            loss = objective(predictions, features, labels[batch], batch)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        validated, _ = _predict(net, objective, data.val.images)
        val_mae = float(np.abs(validated - data.val.labels.numpy()).mean())
        history.append({"epoch": epoch, "train_loss": total / len(labels), "val_mae": val_mae})
        report(epoch / settings.epochs, f"epoch {epoch}/{settings.epochs}, val MAE {val_mae:.2f}")
    return history


@torch.no_grad()
def _predict(
    net: DigitsNet, objective: _Objective, images: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    net.eval()
    predictions, features = net(images.contiguous(memory_format=torch.channels_last))
    return objective.to_labels(predictions).numpy(), features.numpy()
