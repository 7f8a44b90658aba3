"""The files of a comparison of methods."""

from collections.abc import Sequence
from pathlib import Path

from rankgrad.recipes.experiments.files import about, spread_rows, write_runs
from rankgrad.recipes.experiments.store import StoredRun, write_csv, write_json
from rankgrad.recipes.experiments.study import Study
from rankgrad.recipes.regression.comparison_page import comparison_page
from rankgrad.recipes.regression.contrasts import METRIC, against
from rankgrad.recipes.regression.metrics import METRICS, REGIONS

__all__ = ["write_comparison"]


def write_comparison(
    study: Study,
    runs: Sequence[StoredRun],
    folder: Path,
    *,
    regions: tuple[str, ...],
    overview: Sequence[str],
    tuned: Sequence[StoredRun] = (),
    command: str = "",
) -> Path:
    """Write ``runs.csv``, ``summary.csv``, ``paired.csv``, ``summary.json`` and the page.

    Args:
        study: what was compared.
        runs: all runs of it.
        folder: where to.
        regions: the region of each label bin.
        overview: lines that describe the data.
        tuned: the trials, where rates and weights were tuned.
        command: the command that makes all this.

    Returns:
        The path of the page.
    """
    methods = [method.name for method in study.methods]
    rows = against(runs, methods)
    metrics = [METRIC, *(f"{metric}_{region}" for region in REGIONS for metric in METRICS)]
    table = spread_rows(runs, methods, metrics)
    paired_rows = [
        {
            "method": row.pair.method,
            "baseline": row.pair.baseline,
            "difference": row.pair.mean,
            "low": row.low,
            "high": row.high,
            "better": row.pair.better(),
            "seeds": len(row.pair.seeds),
        }
        for row in rows
    ]
    write_runs(runs, folder)
    write_csv(folder / "summary.csv", table)
    write_csv(folder / "paired.csv", paired_rows)
    summary = {"command": command, **about(study), "summary": table, "paired": paired_rows}
    write_json(folder / "summary.json", summary)
    report = folder / "report.html"
    comparison_page(study, runs, rows, regions, overview, tuned, command).write(report)
    return report
