"""``rankgrad compare detection``: losses of detectors, each at its own best learning rate."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands._study import run_stored
from rankgrad.commands._terminal import make_console
from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import add_study_options, names, positive
from rankgrad.commands.train_detection import (
    NEEDS,
    add_detector_options,
    open_data,
    settings_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.detection.settings import DetectionSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_detector_options(parser)
    add("--losses", type=names, metavar="A,B", help="(default: all that fit the model)")
    add(
        "--anchors",
        type=_counts,
        metavar="N,M",
        dest="anchor_counts",
        default=(3,),
        help="anchors a cell: 1, 3, 9 or 18; several: every loss with each, at the learning rate "
        "that is best with the first (default: 3)",
    )
    add(
        "--rates",
        type=_rates,
        metavar="X,Y",
        help="learning rates to choose from, on validation (default: 3e-4,5e-4,1e-3,2e-3), or "
        "LOSS=X,LOSS=Y: one for each loss, nothing is chosen",
    )
    add("--seeds", type=positive, metavar="N", default=3, help="seeds a loss (default: 3)")
    add_study_options(parser, "runs/compare-detection")


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(dict.fromkeys(int(part) for part in names(text)))
    except ValueError:
        counts = ()
    if not counts:
        raise argparse.ArgumentTypeError(f"takes whole numbers with commas between, got {text!r}")
    return counts


def _rates(text: str) -> tuple[float, ...] | dict[str, float]:
    parts = [part.rpartition("=") for part in names(text)]
    try:
        numbers = [float(number) for *_, number in parts]
    except ValueError:
        numbers = []
    given = [loss.strip() for loss, *_ in parts]
    if not numbers or not all(0 < x < math.inf for x in numbers) or any(given) != all(given):
        raise argparse.ArgumentTypeError(
            f"takes numbers above 0, or LOSS=NUMBER, with commas between, got {text!r}"
        )
    return dict(zip(given, numbers, strict=True)) if all(given) else tuple(numbers)


def run(options: argparse.Namespace) -> int:
    """Find the learning rates, train what is missing, print the table and write the page."""
    require(NEEDS, "recipes", "comparing detectors")
    from rankgrad.recipes.detection.comparison import (
        RATES,
        chosen_rates,
        comparison_study,
        tuning_study,
    )
    from rankgrad.recipes.detection.comparison_page import (
        comparison_columns,
        comparison_rows,
        write_comparison,
    )
    from rankgrad.recipes.experiments import RunStore

    settings = _with_anchors(options)
    losses = _losses(options, settings.model)
    folder: Path = options.out or Path("runs", "compare-detection")
    console = make_console(140)
    splits = open_data(options, settings, console)
    data = str(options.data) if options.data else None
    rates, tuning, tuned = options.rates, None, []
    if isinstance(rates, dict):
        rates = {loss: rates[loss] for loss in losses}
    else:
        tuning = tuning_study(settings, data, losses, rates or RATES)
        console.print(f"Learning rates, by validation: {len(tuning.tasks())} runs")
        store = RunStore(folder / "rates")
        tuned = run_stored(options, tuning, store, console, lambda m: f"val AP {m['val AP']:.1f}")
        rates = chosen_rates(tuning, tuned)
    study = comparison_study(settings, data, rates, options.seeds, options.anchor_counts)
    console.print(f"Comparison, by test: {len(study.tasks())} runs; results in {folder}")
    runs = run_stored(options, study, RunStore(folder), console, lambda m: f"AP {m['AP']:.1f}")
    rows = comparison_rows(study, runs)
    report = write_comparison(study, runs, splits, rows, folder, tuning=tuning, tuned=tuned)
    _print_table(console, comparison_columns(study), rows)
    console.print(f"\nReport: {report}", soft_wrap=True, markup=False)
    return 0


def _with_anchors(options: argparse.Namespace) -> "DetectionSettings":
    """Return the settings with the first of the anchor counts; complain about the others."""
    settings = settings_of(options)
    try:
        checked = [replace(settings, anchors=count) for count in options.anchor_counts]
    except ValueError as error:
        raise CommandError(str(error), 2) from None
    return checked[0]


def _losses(options: argparse.Namespace, model: str) -> tuple[str, ...]:
    """Return the losses to compare, each of which must fit the model and have a learning rate."""
    from rankgrad.recipes.detection.settings import LOSSES

    two_stages = model in ("faster-rcnn", "mask-rcnn")
    fitting = tuple(loss for loss in LOSSES if not (loss == "focal" and two_stages))
    given = options.rates if isinstance(options.rates, dict) else None
    losses: tuple[str, ...] = options.losses or (given and tuple(given)) or fitting
    for option, found in (("--losses", losses), ("--rates", given or ())):
        if unknown := [loss for loss in found if loss not in fitting]:
            raise CommandError(
                f"{option}: {', '.join(unknown)} is not one of {', '.join(fitting)} for {model}", 2
            )
    if given and (missing := [loss for loss in losses if loss not in given]):
        raise CommandError(f"--rates: no learning rate for {', '.join(missing)}", 2)
    return losses


def _print_table(console: "Console", columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title="Test set, percent", box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
