"""Training one method with one seed: the plain loop that studies run, without a framework."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from rankgrad.data.regression.samples import RegressionData, Samples
from rankgrad.recipes.experiments.study import Outcome, Report
from rankgrad.recipes.regression.loading import load_data
from rankgrad.recipes.regression.measuring import measured
from rankgrad.recipes.regression.methods import RegressionMethod
from rankgrad.recipes.regression.metrics import balanced_mae
from rankgrad.recipes.regression.models import build_regressor
from rankgrad.recipes.regression.objective import Objective
from rankgrad.recipes.regression.optimization import learning_rate_schedule, make_optimizer
from rankgrad.recipes.regression.regressor import Regressor
from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = ["evaluate", "train"]

# An evaluation batch: no gradients, so it may be larger than one in training.
_EVALUATION_BATCH = 1024


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
        fit = _Fit(settings, method, data, model, objective, seed, report)
        fit.run()
    return _outcome(settings, data, model, objective, fit)


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
        self.error = math.nan  # of the weights that stay in the model, on validation

    def run(self) -> None:
        """Train, in two stages where the method says so; the chosen weights stay in the model."""
        self._stage(self.settings.epochs)
        if self.method.retrain:
            self.model.retrain_head()
            self.objective.second_stage = True
            self._stage(self.method.retrain)

    def _stage(self, epochs: int) -> None:
        steps = math.ceil(len(self.data.train) / self.settings.batch_size)
        parameters = [*self.model.parameters(), *self.objective.parameters()]
        optimizer = make_optimizer(parameters, self.settings, self.method)
        schedule = learning_rate_schedule(optimizer, self.settings, epochs, steps)
        best, since = math.inf, 0
        state: dict[str, Any] | None = None
        for epoch in range(epochs):
            loss = self._epoch(epoch, optimizer, schedule)
            self.error = self._validate(loss)
            if self.error < best:
                best, since = self.error, 0
                if self.settings.select == "best":
                    state = copy.deepcopy(self.model.state_dict())
            else:
                since += 1
            if self.settings.patience and since >= self.settings.patience:
                break
        if state is not None:
            self.model.load_state_dict(state)
            self.error = best

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


def _outcome(
    settings: RegressionSettings,
    data: RegressionData,
    model: Regressor,
    objective: Objective,
    fit: _Fit,
) -> Outcome:
    predictions, features = evaluate(model, objective, data.test)
    targets = data.test.targets
    metrics, notes = measured(data, settings.data, predictions, targets)
    metrics["val_mae_balanced"] = fit.error
    bins, positions = data.bins.index(targets), data.bins.positions()
    arrays = {
        "predictions": predictions,
        "targets": targets.numpy(),
        # Where the label bins of the test samples stand: for figures along the labels.
        "labels": positions[bins].numpy(),
        "bins": bins.numpy(),
        "features": features.astype(np.float32),
        "train_counts": data.train_counts.numpy(),
        "positions": positions.numpy(),
    }
    return Outcome(metrics, fit.history, arrays, notes, model.state_dict())
