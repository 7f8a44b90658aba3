"""Functions that worker processes import by name, and a study that takes no time."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from rankgrad.recipes.experiments import Outcome, Report, Study


@dataclass(frozen=True)
class ToySettings:
    epochs: int = 3
    sizes: tuple[int, ...] = (1, 2)
    # A file to write a line into for every run, so that tests can count them.
    log: str = ""
    # The run, counted from 0, that raises, and how long an epoch takes.
    fails_at: int = -1
    pause: float = 0.0


@dataclass(frozen=True)
class ToyMethod:
    name: str
    value: float = 0.0


def toy_train(settings: ToySettings, method: ToyMethod, seed: int, report: Report) -> Outcome:
    if settings.log:
        log = Path(settings.log)
        started = len(log.read_text().splitlines()) if log.exists() else 0
        with log.open("a") as file:
            file.write(f"{method.name} {seed}\n")
        if started == settings.fails_at:
            raise ZeroDivisionError("the toy broke")
    for epoch in range(1, settings.epochs + 1):
        time.sleep(settings.pause)
        report(epoch / settings.epochs, f"epoch {epoch}")
    return Outcome(
        metrics={"mae_all": method.value + seed, "empty": float("nan")},
        history=[{"epoch": e, "loss": 1.0 / e} for e in range(1, settings.epochs + 1)],
        arrays={"predictions": np.full(4, float(seed))},
        notes=["a note"],
    )


def toy_study(seeds: int = 2, **settings: Any) -> Study:
    methods = (ToyMethod("Plain", 2.0), ToyMethod("With rank term", 1.5))
    return Study("toy", ToySettings(**settings), methods, tuple(range(seeds)), toy_train)


class Recorder:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []
        self.updates: list[tuple[str, float, str]] = []
        self.finished: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def start(self, total: int, done: int) -> None:
        self.started.append((total, done))

    def update(self, task: Any, fraction: float, text: str) -> None:
        self.updates.append((str(task), fraction, text))

    def finish(self, task: Any, metrics: dict[str, float], seconds: float) -> None:
        self.finished.append(str(task))


# Tasks for the pool


def double(task: int, report: Callable[..., None]) -> int:
    report("half way", task)
    return 2 * task


def whoami(task: int, report: Callable[..., None]) -> tuple[int, bool]:
    return os.getpid(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def threads(task: int, report: Callable[..., None]) -> int:
    import torch

    return torch.get_num_threads()


def fail_at_two(task: int, report: Callable[..., None]) -> int:
    if task == 2:
        raise ZeroDivisionError("task two")
    return task


def die_at_two(task: int, report: Callable[..., None]) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def pid_then_sleep(task: int, report: Callable[..., None]) -> None:
    report(os.getpid())
    time.sleep(60)
