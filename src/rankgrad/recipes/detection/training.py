"""The training of a detector, epoch by epoch, and all that changes in it."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankgrad.data.boxes import BoxDataset
from rankgrad.integrations.torchvision import Criterion, calibrate
from rankgrad.recipes.detection.evaluation import coco_metrics, predict
from rankgrad.recipes.detection.masks import with_masks
from rankgrad.recipes.detection.models import build_detector
from rankgrad.recipes.detection.outcomes import order_agreement, outcomes
from rankgrad.recipes.detection.settings import DetectionSettings
from rankgrad.recipes.detection.splits import Splits
from rankgrad.recipes.runs import Kept

__all__ = [
    "DivergedError",
    "OnProgress",
    "Progress",
    "Trainer",
]

# Images that are kept in memory, scaled, if there are no more than these.
KEEP = 2000


class DivergedError(Exception):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    epoch: int
    epochs: int
    fraction: float
    loss: float
    ap: float
    """On the validation images, in percent; NaN before the first epoch is over."""
    best: float
    seconds: float
    """What is left of the run, at the present speed."""


OnProgress = Callable[[Progress], None]


class Trainer:
    """Everything that changes during a run, and how to keep it.

    Args:
        settings: of the run.
        splits: the data.
        device: where to train.
        validate: measure AP after every epoch and keep the best weights; else only after the last.
    """

    def __init__(
        self,
        settings: DetectionSettings,
        splits: Splits,
        device: torch.device | str = "cpu",
        *,
        validate: bool = True,
    ) -> None:
        self.settings, self.splits, self.validate = settings, splits, validate
        self.device = torch.device(device)
        masks = settings.model == "mask-rcnn"
        train = with_masks(splits.train, settings) if masks else splits.train
        keep = len(train) + len(splits.val) <= KEEP
        self.train_set = BoxDataset(train, settings.size, masks=masks, keep=keep)
        self.val_set = BoxDataset(splits.val, settings.size, keep=keep)
        self.steps = math.ceil(len(self.train_set) / settings.batch_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = build_detector(settings, len(splits.categories) + 1, self.steps)
        self.model = model.to(self.device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, settings.weight_decay), settings.lr
        )
        total = settings.epochs * self.steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, _Schedule(min(settings.warmup, total // 4), total)
        )
        self.chance = torch.Generator().manual_seed(settings.seed + 1)
        # torchvision's samplers draw from torch's own generator.
        self.torch_state = torch.Generator().manual_seed(settings.seed + 2).get_state()
        self.epoch = 0
        self.seconds = 0.0
        self.ap = self.best_ap = self.order = math.nan
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, int | float]] = []

    @property
    def finished(self) -> bool:
        """No epoch left."""
        return self.epoch >= self.settings.epochs

    def autocast(self) -> AbstractContextManager[Any]:
        """What a forward pass runs in."""
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def one_epoch(self, on_progress: OnProgress = lambda _: None) -> dict[str, int | float]:
        """Train for one epoch and validate; return the row of the history."""
        started = shown = time.perf_counter()
        sums: dict[str, Tensor] = {}
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.torch_state)
            for step, (images, targets) in enumerate(self._batches(), start=1):
                losses = self._step(images, targets)
                for name, value in losses.items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
                now = time.perf_counter()
                if now - shown > 0.25:
                    shown = now
                    on_progress(self._progress(step / self.steps, sums["loss"] / step, started))
            self.torch_state = torch.get_rng_state()
        self.epoch += 1
        if self.validate or self.finished:
            found = predict(self.model, self.val_set, autocast=self.autocast)
            self.ap = coco_metrics(self.splits.val, found)["AP"]
            self.order = order_agreement(outcomes(self.splits.val, found, thresholds=(0.5,)))
            if not self.validate or not self.ap <= self.best_ap:
                self.best_ap, self.best = self.ap, _copied(self.model)
        self.seconds += time.perf_counter() - started
        row: dict[str, int | float] = {
            "epoch": self.epoch,
            **{name: value.item() / self.steps for name, value in sums.items()},
            "val_AP": self.ap,
            "val_order": self.order,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        self.history.append(row)
        return row

    @property
    def progress(self) -> Progress:
        """How far the run is after the last epoch."""
        loss = torch.tensor(self.history[-1]["loss"])
        return self._progress(0.0, loss, time.perf_counter())

    def _batches(self) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        order = torch.randperm(len(self.train_set), generator=self.chance)
        for batch in torch.split(order, self.settings.batch_size):
            images, targets = [], []
            for index in batch.tolist():
                image, target = self.train_set[index]
                if self.settings.flip and torch.rand((), generator=self.chance) < 0.5:
                    image, target = _flipped(image, target)
                images.append(image.to(self.device))
                targets.append({k: v.to(self.device) for k, v in target.items()})
            yield images, targets

    def _step(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        with self.autocast():
            losses: dict[str, Tensor] = self.model(images, targets)
        loss = torch.stack([value.float() for value in losses.values()]).sum()
        broken = sum(c.parts["broken"] for c in self.model.modules() if isinstance(c, Criterion))
        if not (loss + 0 * broken).isfinite() or broken > 0:
            at = f"epoch {self.epoch + 1}, learning rate {self.schedule.get_last_lr()[0]:.2g}"
            raise DivergedError(f"the model's output is no number any more ({at})")
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.detach(), **{k: v.detach().float() for k, v in losses.items()}}

    def _progress(self, part: float, loss: Tensor, started: float) -> Progress:
        done = self.epoch + part
        spent = self.seconds + time.perf_counter() - started
        epochs = self.settings.epochs
        left = spent / done * (epochs - done) if done else 0.0
        return Progress(self.epoch, epochs, done / epochs, loss.item(), self.ap, self.best_ap, left)

    def finish(self) -> nn.Module:
        """Return the model with its best weights and, if it ranks, calibrated scores."""
        if self.best:
            self.model.load_state_dict(self.best)
        if self.settings.ranks or self.settings.loss == "focal":
            calibrate(self.model, _validation(self.val_set))
        return self.model.eval()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return _KEPT.state(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where ``state`` was called."""
        _KEPT.put_back(self, state)
        self.torch_state = self.torch_state.cpu()


_KEPT = Kept(
    parts=("model", "optimizer", "schedule"),
    generators=("chance",),
    values=("torch_state", "epoch", "seconds", "ap", "order", "best_ap", "best", "history"),
)


class _Schedule:
    """A linear rise, then half a cosine."""

    def __init__(self, warmup: int, total: int) -> None:
        self.warmup, self.total = warmup, total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        part = (step - self.warmup) / max(1, self.total - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and normalisation are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _flipped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    width = image.shape[-1]
    x1, y1, x2, y2 = target["boxes"].unbind(1)
    flipped = {**target, "boxes": torch.stack((width - x2, y1, width - x1, y2), 1)}
    if "masks" in target:
        flipped["masks"] = target["masks"].flip(-1)
    return image.flip(-1), flipped


def _copied(model: nn.Module) -> dict[str, Any]:
    return {
        k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in model.state_dict().items()
    }


def _validation(dataset: BoxDataset, batch_size: int = 8) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(dataset), batch_size):
        items = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        yield [image for image, _ in items], [target for _, target in items]
