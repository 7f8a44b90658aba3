"""A training run of a sorter: everything that changes in it, and how to keep that."""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankgrad.data.sequences import Distribution, score_file, sequences
from rankgrad.ranks import rank
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.runs import Kept
from rankgrad.recipes.sorters.evaluation import evaluate
from rankgrad.recipes.sorters.precision import forward_precision
from rankgrad.recipes.sorters.settings import SorterSettings
from rankgrad.sorters import Sorter, make_sorter

__all__ = ["Progress", "SorterRun"]


@dataclass(frozen=True)
class Progress:
    """How far a run is; errors are mean absolute differences of ranks over n."""

    epoch: int
    epochs: int
    fraction: float
    loss: float
    error: float
    best: float
    seconds: float
    """What is left of the run, at the present speed."""


class SorterRun:
    """The sorter, its optimizer, its sources of chance, and what came out so far."""

    def __init__(self, settings: SorterSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            length = settings.lengths[0] if len(settings.lengths) == 1 else None
            self.sorter = make_sorter(settings.model, length).to(device)
        self.optimizer = torch.optim.Adam(self.sorter.parameters(), settings.lr)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, settings.lr_step, 0.5)
        self.generator = torch.Generator(device).manual_seed(settings.seed + 1)
        self.chance = torch.Generator().manual_seed(settings.seed + 2)
        self.kinds: list[str | int | Distribution] = list(settings.dist)
        if settings.scores is not None:
            self.kinds = [score_file(settings.scores)]
        self.epoch = 0
        self.seconds = 0.0
        self.error = self.best_error = math.inf
        self.best_epoch = 0
        self.best = self._weights()
        self.history: list[dict[str, int | float]] = []
        self.validation = self._validation()

    @property
    def finished(self) -> bool:
        """No epoch left, or no hope."""
        s = self.settings
        return self.epoch >= s.epochs or self.epoch - self.best_epoch >= s.patience

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.sorter.state_dict().items()}

    def _validation(self) -> list[tuple[Tensor, Tensor]]:
        generator = torch.Generator(self.device).manual_seed(self.settings.seed + 3)
        batches = []
        for length in self.settings.lengths:
            rows = max(2, self.settings.validation * 100 // max(100, length))
            for kind in self.kinds:
                x = sequences(rows, length, kind, generator=generator)
                batches.append((x, _true(x)))
        return batches

    def one_epoch(self, on_progress: Callable[[Progress], None]) -> dict[str, int | float]:
        """Train for one epoch and validate; return the row of the history."""
        s = self.settings
        started = shown = time.perf_counter()
        total = torch.zeros((), device=self.device)
        self.sorter.train()
        with forward_precision(s.precision, self.device) as autocast:
            for step in range(s.steps):
                pick = int(torch.randint(len(s.lengths), (), generator=self.chance))
                length = s.lengths[pick]
                x = sequences(s.rows(length), length, self.kinds, generator=self.generator)
                with autocast():
                    out = self.sorter(x)
                loss = nn.functional.l1_loss(out, _true(x))
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.detach()
                now = time.perf_counter()
                if now - shown > 0.25:
                    shown = now
                    on_progress(self._progress((step + 1) / s.steps, total / (step + 1), started))
            self.schedule.step()
            self.epoch += 1
            self.error = self._validate(autocast)
        if self.error < self.best_error:
            self.best_error, self.best_epoch, self.best = self.error, self.epoch, self._weights()
        self.seconds += time.perf_counter() - started
        row: dict[str, int | float] = {
            "epoch": self.epoch,
            "loss": total.item() / s.steps,
            "error": self.error,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        self.history.append(row)
        on_progress(self._progress(0.0, total / s.steps, time.perf_counter()))
        return row

    @torch.no_grad()
    def _validate(self, autocast: Callable[[], AbstractContextManager[Any]]) -> float:
        self.sorter.eval()
        errors = []
        for x, wanted in self.validation:
            with autocast():
                out = self.sorter(x)
            errors.append(nn.functional.l1_loss(out, wanted))
        # A NaN is worse than anything.
        return torch.stack(errors).mean().nan_to_num(nan=math.inf).item()

    def _progress(self, part: float, loss: Tensor, started: float) -> Progress:
        done = self.epoch + part
        spent = self.seconds + time.perf_counter() - started
        left = spent / done * (self.settings.epochs - done) if done else 0.0
        fraction = done / self.settings.epochs
        return Progress(
            self.epoch,
            self.settings.epochs,
            fraction,
            loss.item(),
            self.error,
            self.best_error,
            left,
        )

    def best_sorter(self) -> Sorter:
        """Return a copy with the best weights."""
        sorter: Sorter = copy.deepcopy(self.sorter)
        sorter.load_state_dict(self.best)
        sorter.eval()
        return sorter

    def errors(self) -> dict[str, dict[str, float]]:
        """Return the error of the best weights by length and distribution, on new sequences."""
        sorter = self.best_sorter().requires_grad_(False)
        measured = {
            length: evaluate("", sorter, length, self.kinds, device=self.device, timed=False)
            for length in self.settings.lengths
        }
        return {str(length): found.errors for length, found in measured.items()}

    def about(self, command: str) -> dict[str, Any]:
        """What is written into the file of the sorter."""
        return {
            "settings": plain(self.settings),
            "epoch": self.best_epoch,
            "error": self.best_error,
            "parameters": sum(p.numel() for p in self.sorter.parameters()),
            "device": self.device.type,
            "torch": torch.__version__,
            "command": command,
        }

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        return _KEPT.state(self)

    def take(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state` was called."""
        _KEPT.put_back(self, state)


_KEPT = Kept(
    parts=("sorter", "optimizer", "schedule"),
    generators=("generator", "chance"),
    values=("epoch", "seconds", "error", "best_error", "best_epoch", "best", "history"),
)


def _true(x: Tensor) -> Tensor:
    return rank(x, ties="average", normalize=True)
