"""Methods x seeds: runs that go on after an interruption, in parallel, with results in files."""

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.files import about, spread_rows, write_runs
from rankgrad.recipes.experiments.pool import TaskError, WorkerDiedError
from rankgrad.recipes.experiments.progress import Display, progress_display
from rankgrad.recipes.experiments.runner import run_study
from rankgrad.recipes.experiments.store import ChangedStudyError, RunStore, StoredRun
from rankgrad.recipes.experiments.study import Method, Outcome, Report, Study
from rankgrad.recipes.experiments.summary import Paired, Spread, paired, spread

__all__ = [
    "ChangedStudyError",
    "Display",
    "Method",
    "Outcome",
    "Paired",
    "Report",
    "RunStore",
    "Spread",
    "StoredRun",
    "Study",
    "TaskError",
    "WorkerDiedError",
    "about",
    "environment",
    "machine",
    "paired",
    "progress_display",
    "run_study",
    "spread",
    "spread_rows",
    "write_runs",
]
