"""Runs what is missing of a study and gives back all of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankgrad.recipes.experiments.pool import run_tasks
from rankgrad.recipes.experiments.progress import Display
from rankgrad.recipes.experiments.store import RunStore, StoredRun
from rankgrad.recipes.experiments.study import Study, Task

__all__ = ["run_study"]


def run_study(
    study: Study, store: RunStore, display: Display, *, workers: int = 2, threads: int | None = 1
) -> list[StoredRun]:
    """Run every method with every seed, except what the store already holds.

    Each run is stored as soon as it is done; after an interruption the same call goes on with
    what is missing, in a resumable study from the last epoch on. A damaged run is run again. For
    ``workers`` and ``threads`` see ``run_tasks``.

    Raises:
        ChangedStudyError: the store holds a run of other settings. Nothing is run.
        TaskError: the training function raised.
        WorkerDiedError: a worker process ended on its own.
    """
    tasks = study.tasks()
    store.remove_leftovers()
    missing = [task for task in tasks if store.load(task) is None]
    with display:
        display.start(len(tasks), len(tasks) - len(missing))
        jobs = [(task, str(store.folder)) for task in missing]

        def show(index: int, kind: str, content: Any) -> None:
            tell = display.update if kind == "progress" else display.finish
            tell(missing[index], *content)

        run_tasks(_run_one, jobs, show, workers=workers, threads=threads)
    return collect(study, store)


def collect(study: Study, store: RunStore) -> list[StoredRun]:
    """Return all runs of a study that the store holds."""
    found = [store.load(task) for task in study.tasks()]
    return [run for run in found if run is not None]


def _run_one(job: tuple[Task, str], report: Callable[..., None]) -> tuple[dict[str, Any], float]:
    """Train and store one run; the numbers travel back, the rest stays on the disk."""
    task, folder = job
    started = time.perf_counter()
    store, study = RunStore(Path(folder)), task.study
    state = (store.underway(task),) if study.resumable else ()
    outcome = study.train(study.settings, task.method, task.seed, report, *state)
    seconds = time.perf_counter() - started
    store.save(task, outcome, seconds)
    return outcome.metrics, seconds
