"""Training one method with one seed: the plain loop that studies run, without a framework."""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from rankgrad.data.regression.samples import RegressionData, Samples
from rankgrad.recipes.experiments.study import Outcome, Report
from rankgrad.recipes.regression.loading import load_data
from rankgrad.recipes.regression.measuring import measured
from rankgrad.recipes.regression.method import RegressionMethod
from rankgrad.recipes.regression.metrics import balanced_mae
from rankgrad.recipes.regression.models import build_regressor
from rankgrad.recipes.regression.objective import Objective
from rankgrad.recipes.regression.optimization import learning_rate_schedule, make_optimizer
from rankgrad.recipes.regression.regressor import Regressor
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.stages import Stage, stages

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
        fit = _Fit(settings, method, data, model, seed, report)
        for stage in stages(method, settings.epochs):
            fit.run(stage)
    return _outcome(fit)


class _Fit:
    """One run."""

    def __init__(
        self,
        settings: RegressionSettings,
        method: RegressionMethod,
        data: RegressionData,
        model: Regressor,
        seed: int,
        report: Report,
    ) -> None:
        self.settings, self.method, self.data = settings, method, data
        self.model, self.report = model, report
        self.order = torch.Generator().manual_seed(seed)
        self.val_bins = data.bins.index(data.val.targets).numpy()
        self.history: list[dict[str, int | float]] = []
        self.error = math.nan  # of the weights that stay in the model, on validation

    def run(self, stage: Stage) -> None:
        """Train one stage; the chosen weights stay in the model."""
        settings = self.settings
        self.model.enter(stage)
        self.objective = Objective(self.method, self.data, stage, scale=settings.scale_labels)
        steps = math.ceil(len(self.data.train) / settings.batch_size)
        parameters = [*self.model.parameters(), *self.objective.parameters()]
        optimizer = make_optimizer(parameters, settings, self.method)
        schedule = learning_rate_schedule(optimizer, settings, stage.epochs, steps)
        best, since = math.inf, 0
        state: dict[str, Any] | None = None
        for epoch in range(stage.epochs):
            loss = self._epoch(epoch, optimizer, schedule)
            self.error = self._validate() if stage.regresses else math.nan
            self._tell(stage, loss)
            if not stage.regresses:
                continue
            if self.error < best:
                best, since = self.error, 0
                if settings.select == "best":
                    state = copy.deepcopy(self.model.state_dict())
            else:
                since += 1
            if settings.patience and since >= settings.patience:
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
            batch = data.batch(rows, self.objective.stage.views)
            optimizer.zero_grad()
            output = self.model(batch.inputs, batch.targets)
            loss, _ = self.objective(output, batch, epoch)
            loss.backward()
            if self.settings.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            optimizer.step()
            schedule.step()
            self.model.observe(output.features, batch.targets)
            total += loss.item() * len(rows)
        self.model.end_epoch()
        return total / len(data)

    def _validate(self) -> float:
        predictions, _ = evaluate(self.model, self.objective, self.data.val)
        return balanced_mae(predictions, self.data.val.targets.numpy(), self.val_bins)

    def _tell(self, stage: Stage, loss: float) -> None:
        done = len(self.history) + 1
        self.history.append({"epoch": done, "train_loss": loss, "val_mae": self.error})
        how = f"val MAE {self.error:.3g}" if stage.regresses else f"{stage.name}, loss {loss:.3g}"
        self.report(done / stage.total, f"epoch {done}/{stage.total}, {how}")


@torch.no_grad()
def evaluate(
    model: Regressor, objective: Objective, samples: Samples
) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions in the unit of the labels, and features."""
    model.eval()
    rows = torch.split(torch.arange(len(samples)), _EVALUATION_BATCH)
    outputs = [model(samples.inputs(some)) for some in rows]
    predictions = objective.to_labels(torch.cat([o.predictions for o in outputs]).float())
    return predictions.numpy(), torch.cat([o.features for o in outputs]).float().numpy()


def _outcome(fit: _Fit) -> Outcome:
    data, model = fit.data, fit.model
    predictions, features = evaluate(model, fit.objective, data.test)
    targets = data.test.targets
    metrics, notes = measured(data, fit.settings.data, predictions, targets)
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
