"""``rankgrad demo``: deep imbalanced regression on real handwritten digits."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands.errors import require, study_errors
from rankgrad.commands.options import add_study_options, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.experiments import StoredRun, Study

__all__ = ["add_arguments", "run"]

# A run to see that everything works: seconds instead of a minute and a half.
_QUICK: dict[str, Any] = {
    "epochs": 4,
    "peak": 20,
    "val_per_label": 2,
    "test_per_label": 3,
    "many_above": 9,
    "few_below": 3,
}


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
    from rich.console import Console

    from rankgrad.recipes.digits import digits_study
    from rankgrad.recipes.experiments import RunStore, progress_display, run_study

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    changes = dict(_QUICK) if options.quick else {}
    if options.epochs:
        changes["epochs"] = options.epochs
    study = digits_study(options.seeds or (2 if options.quick else 5), **changes)
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
    from rich import box
    from rich.table import Table

    from rankgrad.recipes.digits_report import comparisons
    from rankgrad.recipes.regression.summary import COLUMNS, findings, summary_rows

    methods = [method.name for method in study.methods]
    n = len(study.seeds)
    table = Table(
        title=f"Test set, {'one seed' if n == 1 else f'{n} seeds: mean ± standard deviation'}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True)
    for _, heading, _, _ in COLUMNS:
        # Narrow terminals break between the mean and its deviation, never within a number.
        table.add_column(heading, justify="right")
    for name, *cells in summary_rows(runs, methods):
        texts = [cell.replace(" ± ", " ±") for cell in cells]
        table.add_row(name, *texts)
    console.print()
    console.print(table)
    for sentence in findings(runs, methods, comparisons(runs)):
        console.print(sentence, markup=False)
