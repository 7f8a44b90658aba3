"""``rankgrad demo``: deep imbalanced regression on real handwritten digits."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands._terminal import make_console, make_table
from rankgrad.commands.errors import require, study_errors
from rankgrad.commands.options import add_study_options, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.experiments import StoredRun, Study

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seeds", type=positive, metavar="N", help="seeds a method (default: 5)")
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs a run (default: 60)")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that everything works"
    )
    add_study_options(parser, "runs/demo, with --quick runs/demo-quick")


def run(options: argparse.Namespace) -> int:
    """Train what is missing, print the table and write the report."""
    require(["rich", "sklearn", "matplotlib", "jinja2"], "recipes", "the demo")
    from rankgrad.recipes.digits import digits_study
    from rankgrad.recipes.experiments import RunStore, progress_display, run_study

    console = make_console()
    seeds, epochs = (2, 4) if options.quick else (5, 60)
    study = digits_study(options.seeds or seeds, epochs=options.epochs or epochs)
    folder: Path = options.out or Path("runs", "demo-quick" if options.quick else "demo")
    store = RunStore(folder)
    with study_errors():
        folder.mkdir(parents=True, exist_ok=True)
        if options.fresh:
            store.clear()
        console.print(
            f"{len(study.methods)} methods, {len(study.seeds)} seeds, "
            f"{study.settings.epochs} epochs; results in {folder}",
            markup=False,
        )
        display = progress_display(console, lambda m: f"test MAE {m['mae_all']:.2f}")
        runs = run_study(study, store, display, workers=options.workers)
        report = _report(study, runs, folder, quick=options.quick)
    _print_results(console, study, runs)
    console.print(f"\nReport: {report}", soft_wrap=True, markup=False)
    return 0


def _report(study: "Study", runs: "Sequence[StoredRun]", folder: Path, *, quick: bool) -> Path:
    from rankgrad.recipes.digits_report import write_results

    return write_results(study, runs, folder, quick=quick)


def _print_results(console: "Console", study: "Study", runs: "Sequence[StoredRun]") -> None:
    from rankgrad.recipes.digits_report import comparisons
    from rankgrad.recipes.regression.summary import COLUMNS, findings, summary_rows

    methods = [method.name for method in study.methods]
    n = len(study.seeds)
    title = f"Test set, {'one seed' if n == 1 else f'{n} seeds: mean ± standard deviation'}"
    headings = ["method", *(heading for _, heading, _, _ in COLUMNS)]
    console.print()
    console.print(make_table(title, headings, summary_rows(runs, methods)))
    for sentence in findings(runs, methods, comparisons(runs)):
        console.print(sentence, markup=False)
