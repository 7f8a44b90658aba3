"""What every study writes beside its page: its runs, their spread over seeds, what it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import StoredRun, write_csv
from rankgrad.recipes.experiments.study import Study, plain
from rankgrad.recipes.experiments.summary import spread

__all__ = ["about", "spread_rows", "write_runs"]


def write_runs(runs: Sequence[StoredRun], folder: Path) -> None:
    """Write ``runs.csv``: a row for each run, with all its metrics."""
    write_csv(
        folder / "runs.csv",
        [{"method": r.method, "seed": r.seed, "seconds": r.seconds, **r.metrics} for r in runs],
    )


def spread_rows(
    runs: Sequence[StoredRun], methods: Sequence[str], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each method: mean and deviation over seeds of every metric."""
    rows = []
    for method in methods:
        row: dict[str, Any] = {"method": method}
        for metric in metrics:
            value = spread(runs, method, metric)
            row |= {f"{metric}_mean": value.mean, f"{metric}_std": value.std}
        rows.append(row)
    return rows


def about(study: Study) -> dict[str, Any]:
    """Return what a study was and what it ran on, for ``summary.json``."""
    return {
        "study": study.name,
        "settings": plain(study.settings),
        "methods": [plain(method) for method in study.methods],
        "seeds": list(study.seeds),
        "versions": environment(),
        "machine": machine(),
    }
