"""The training of one stage, epoch by epoch, and all that changes in it."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from rankgrad.data.nifti import ScanDataset
from rankgrad.distributed import all_sum
from rankgrad.recipes.brain_age.batches import Batches, even_parts
from rankgrad.recipes.brain_age.building import optimizer_of, ranker_of, still_statistics
from rankgrad.recipes.brain_age.evaluation import age_metrics
from rankgrad.recipes.brain_age.many_workers import (
    group_of_workers,
    mean_over_workers,
    workers_of,
)
from rankgrad.recipes.brain_age.model import BrainAgeModel, autocast
from rankgrad.recipes.brain_age.objective import BrainAgeLoss
from rankgrad.recipes.brain_age.prediction import predict_ages
from rankgrad.recipes.brain_age.progress import (
    DeadStartError,
    DivergedError,
    OnProgress,
    Progress,
)
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.recipes.runs import Kept

__all__ = ["StageTrainer"]

# A network whose answers are all 0 for so many batches does not come back.
DEAD_AFTER = 10


class StageTrainer:
    """Everything that changes while one stage is trained, and how to keep it.

    Where ``torch.distributed`` is set up for several processes, each batch is spread over them and
    ranked as one; batch norm's statistics are those of each part.

    Args:
        settings: of the run.
        stage: 1 or 2.
        train: the training scans.
        validation: the scans that decide when to stop.
        device: where to train.
        first: for stage 2, the weights of the first stage, which stay as they are.
        workers: processes that read scans.
    """

    def __init__(
        self,
        settings: BrainAgeSettings,
        stage: int,
        train: ScanDataset,
        validation: ScanDataset,
        device: torch.device | str = "cpu",
        *,
        first: dict[str, Tensor] | None = None,
        workers: int = 0,
    ) -> None:
        self.settings, self.stage = settings, stage
        self.train_set, self.validation_set = train, validation
        self.device = torch.device(device)
        self.batches = Batches(train, workers, self.device)
        self.workers = workers
        self.group = group_of_workers()
        if settings.weight > 0 and len(train) < 2:
            raise ValueError("one training scan cannot be ranked; there must be at least 2")
        if min(len(train), settings.batch_size) // 2 < workers_of(self.group) > 1:
            raise ValueError(
                f"{len(train)} scans in batches of {settings.batch_size} are too few for "
                f"{workers_of(self.group)} processes"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 7919 * (stage - 1))
            self.model = BrainAgeModel(settings, second=stage == 2)
        if stage == 2:
            assert first is not None
            self.model.first.load_state_dict(first)
            self.model.first.requires_grad_(False)
        elif settings.start == "mean":
            with torch.no_grad():
                self.model.first.last_bias.fill_(train.ages.mean())
        self.model.to(self.device)
        self.trained = self.model.first if self.model.second is None else self.model.second
        self.objective = BrainAgeLoss(
            settings.loss,
            settings.weight,
            settings.beta,
            ranker_of(settings.ranker),
            group=self.group,
        ).to(self.device)
        self.optimizer = optimizer_of(settings, stage, self.trained)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=settings.lr_patience
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=settings.precision == "float16"
        )
        self.chance = torch.Generator().manual_seed(settings.seed + 1)
        # Augmentation in this process draws from torch's own generator.
        self.torch_state = torch.Generator().manual_seed(settings.seed + 2).get_state()
        self.steps = len(even_parts(torch.arange(len(train)), settings.batch_size))
        self.epoch = self.waited = self.dead = 0
        self.seconds = 0.0
        self.mae = self.best_mae = math.nan
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, int | float]] = []

    @property
    def finished(self) -> bool:
        """No epoch left, or no better one for long enough."""
        return self.epoch >= self.settings.epochs or self.waited >= self.settings.patience

    def one_epoch(self, on_progress: OnProgress = lambda _: None) -> dict[str, int | float]:
        """Train for one epoch and validate; return the row of the history."""
        started = shown = time.perf_counter()
        sums: dict[str, Tensor] = {}
        self.trained.train()
        order = torch.randperm(len(self.train_set), generator=self.chance)
        parts = even_parts(order, self.settings.batch_size, workers_of(self.group))
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.torch_state)
            for step, batch in enumerate(self.batches.read(parts, self.chance), start=1):
                for name, value in self._step(batch).items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
                now = time.perf_counter()
                if now - shown > 0.25:
                    shown = now
                    on_progress(self._progress(step / self.steps, sums["loss"] / step, started))
            self.torch_state = torch.get_rng_state()
        self.epoch += 1
        rate = self.optimizer.param_groups[0]["lr"]
        measured = self._validate()
        self.seconds += time.perf_counter() - started
        row: dict[str, int | float] = {
            "epoch": self.epoch,
            **{name: value.item() / self.steps for name, value in sums.items()},
            **{f"val_{name}": value for name, value in measured.items()},
            "lr": rate,
        }
        self.history.append(row)
        return row

    def _validate(self) -> dict[str, float]:
        # Each worker has seen other scans; batch norm's statistics become those of all of them.
        mean_over_workers([b for b in self.trained.buffers() if b.is_floating_point()], self.group)
        ages = self.predict(self.validation_set)[:, -1]
        measured = age_metrics(ages, self.validation_set.ages.numpy())
        self.mae = measured["MAE"]
        if self.mae < self.best_mae or not self.best:
            self.best_mae, self.waited = self.mae, 0
            self.best = {k: v.detach().clone() for k, v in self.trained.state_dict().items()}
        else:
            self.waited += 1
        self.schedule.step(self.mae)
        return measured

    def predict(self, scans: ScanDataset) -> Any:
        """Return the ages of all stages so far, ``[n, stage]``, with the weights as they are."""
        return predict_ages(
            self.model, scans, self.device, precision=self.settings.precision,
            batch_size=self._part, workers=self.workers, group=self.group,
        )  # fmt: skip

    @property
    def _part(self) -> int:
        """Scans that go through the network together."""
        shared = self.settings.accumulate * workers_of(self.group)
        return max(1, self.settings.batch_size // shared)

    def _forward(self, batch: dict[str, Tensor]) -> Tensor:
        image, sex = (batch[k].to(self.device, non_blocking=True) for k in ("image", "sex"))
        with autocast(self.settings.precision, self.device):
            if self.stage == 1:
                ages: Tensor = self.model.first(image, sex)
            else:
                self.model.first.eval()
                with torch.no_grad():
                    first = self.model.first(image, sex)
                ages = self.model.refine(image, sex, first)
        return ages.squeeze(1)

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        ages = batch["age"].to(self.device)
        self.optimizer.zero_grad()
        if self.settings.accumulate == 1:
            predictions = self._forward(batch)
            loss = self.objective(predictions, ages)
            self._check(loss, predictions)
            self.scaler.scale(loss).backward()
        else:
            predictions, loss = self._in_parts(batch, ages)
        mean_over_workers([p.grad for p in self.trained.parameters()], self.group)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {"loss": loss.detach(), **self.objective.parts}

    def _in_parts(self, batch: dict[str, Tensor], ages: Tensor) -> tuple[Tensor, Tensor]:
        """Backward through the network part by part, for the loss of the whole batch.

        Once without a graph for all predictions, whose gradient the loss gives; then once more
        with a graph, a part at a time.
        """
        numbers = torch.arange(len(ages)).tensor_split(min(self.settings.accumulate, len(ages)))
        parts = [{k: batch[k][n] for k in ("image", "sex")} for n in numbers]
        with torch.no_grad(), still_statistics(self.trained):
            predictions = torch.cat([self._forward(part) for part in parts])
        predictions.requires_grad_()
        loss = self.objective(predictions, ages)
        self._check(loss, predictions)
        (gradient,) = torch.autograd.grad(self.scaler.scale(loss), predictions)
        for part, n in zip(parts, numbers, strict=True):
            self._forward(part).backward(gradient[n])
        return predictions, loss

    def _check(self, loss: Tensor, predictions: Tensor) -> None:
        at = f"stage {self.stage}, epoch {self.epoch + 1}"
        if not loss.isfinite():
            raise DivergedError(f"the loss is no number any more ({at})")
        if self.stage == 1:
            alive = all_sum((predictions.detach() != 0).any().float(), self.group)
            self.dead = 0 if alive > 0 else self.dead + 1
            if self.dead >= min(self.steps, DEAD_AFTER):
                raise DeadStartError(
                    f"every answer of the last {self.dead} batches is 0 ({at}): the ReLU at the "
                    "end lets nothing through and no gradient back, so nothing is learnt any "
                    "more; start at the mean age (--start mean), take another --seed or a lower "
                    "learning rate"
                )

    @property
    def progress(self) -> Progress:
        """How far the stage is after the last epoch."""
        return self._progress(0.0, torch.tensor(self.history[-1]["loss"]), time.perf_counter())

    def _progress(self, part: float, loss: Tensor, started: float) -> Progress:
        done, epochs = self.epoch + part, self.settings.epochs
        spent = self.seconds + time.perf_counter() - started
        left = 0.0 if self.finished or not done else spent / done * (epochs - done)
        return Progress(
            self.stage,
            self.epoch,
            epochs,
            done / epochs,
            loss.item(),
            self.mae,
            self.best_mae,
            left,
        )

    def finish(self) -> BrainAgeModel:
        """Return the model with its best weights."""
        if self.best:
            self.trained.load_state_dict(self.best)
        return self.model.eval()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return _KEPT.state(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where ``state`` was called."""
        _KEPT.put_back(self, state)
        self.torch_state = self.torch_state.cpu()


_KEPT = Kept(
    parts=("trained", "optimizer", "schedule", "scaler"),
    generators=("chance",),
    values=(
        "torch_state", "epoch", "waited", "dead", "seconds", "mae", "best_mae", "best", "history",
    ),
)  # fmt: skip
