"""``rankgrad compare detection``: losses of detectors, each at its own best learning rate."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands.errors import CommandError, require, study_errors
from rankgrad.commands.options import add_study_options, names, positive
from rankgrad.commands.train_detection import (
    NEEDS,
    add_detector_options,
    open_data,
    settings_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.experiments import RunStore, StoredRun, Study

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_detector_options(parser)
    add("--losses", type=names, metavar="A,B", help="(default: all that fit the model)")
    add(
        "--rates",
        type=_numbers,
        metavar="X,Y",
        help="learning rates to choose from, on validation (default: 3e-4,5e-4,1e-3,2e-3)",
    )
    add("--seeds", type=positive, metavar="N", default=3, help="seeds a loss (default: 3)")
    add_study_options(parser, "runs/compare-detection")


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def run(options: argparse.Namespace) -> int:
    """Find the learning rates, train what is missing, print the table and write the page."""
    require(NEEDS, "recipes", "comparing detectors")
    from rich.console import Console

    from rankgrad.recipes.detection.comparison import (
        RATES,
        chosen_rates,
        comparison_study,
        tuning_study,
    )
    from rankgrad.recipes.detection.comparison_page import comparison_rows, write_comparison
    from rankgrad.recipes.detection.settings import LOSSES
    from rankgrad.recipes.experiments import RunStore

    settings = settings_of(options)
    two_stages = settings.model in ("faster-rcnn", "mask-rcnn")
    fitting = [loss for loss in LOSSES if not (loss == "focal" and two_stages)]
    losses = options.losses or fitting
    if unknown := [loss for loss in losses if loss not in fitting]:
        raise CommandError(
            f"--losses: {', '.join(unknown)} is not one of {', '.join(fitting)} for "
            f"{settings.model}",
            2,
        )
    folder: Path = options.out or Path("runs", "compare-detection")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    splits = open_data(options, console)
    data = str(options.data) if options.data else None
    tuning = tuning_study(settings, data, losses, options.rates or RATES)
    console.print(f"Learning rates, by validation: {len(tuning.tasks())} runs")
    tuned = _run(options, tuning, RunStore(folder / "rates"), console, "val AP")
    rates = chosen_rates(tuning, tuned)
    study = comparison_study(settings, data, rates, options.seeds)
    console.print(f"Comparison, by test: {len(study.tasks())} runs; results in {folder}")
    runs = _run(options, study, RunStore(folder), console, "AP")
    rows = comparison_rows(study, runs)
    report = write_comparison(study, runs, tuning, tuned, splits, rows, folder)
    _print_table(console, rows)
    console.print(f"\nReport: {report}", soft_wrap=True, markup=False)
    return 0


def _run(
    options: argparse.Namespace, study: "Study", store: "RunStore", console: "Console", metric: str
) -> "list[StoredRun]":
    from rankgrad.recipes.experiments import progress_display, run_study

    with study_errors():
        store.folder.mkdir(parents=True, exist_ok=True)
        if options.fresh:
            store.clear()
        display = progress_display(console, lambda m: f"{metric} {m[metric]:.1f}")
        return run_study(study, store, display, workers=options.workers)


def _print_table(console: "Console", rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    from rankgrad.recipes.detection.comparison_page import HEADER

    table = Table(title="Test set, percent", box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(HEADER):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
