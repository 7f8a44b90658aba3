"""``rankgrad demo``: deep imbalanced regression on real handwritten digits."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands.errors import CommandError, require

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
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="results folder (default: runs/demo, with --quick runs/demo-quick)",
    )
    parser.add_argument("--seeds", type=_positive, metavar="N", help="seeds a method (default: 5)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="epochs a run (default: 60)")
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        default=min(2, os.cpu_count() or 1),
        help="runs at a time, one thread each (default: %(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that everything works"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="keep the finished runs of the results folder and add what is missing (the default)",
    )
    again.add_argument(
        "--fresh", action="store_true", help="delete the runs of the results folder first"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def run(options: argparse.Namespace) -> int:
    """Train what is missing, print the table and write the report."""
    require(["rich", "sklearn", "matplotlib", "jinja2"], "recipes", "the demo")
    from rich.console import Console

    from rankgrad.recipes.digits import digits_study
    from rankgrad.recipes.experiments import (
        ChangedStudyError,
        RunStore,
        TaskError,
        WorkerDiedError,
        progress_display,
        run_study,
    )

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    changes = dict(_QUICK) if options.quick else {}
    if options.epochs:
        changes["epochs"] = options.epochs
    study = digits_study(options.seeds or (2 if options.quick else 5), **changes)
    folder: Path = options.out or Path("runs", "demo-quick" if options.quick else "demo")
    store = RunStore(folder)
    try:
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
    except ChangedStudyError as error:
        raise CommandError(
            f"{error}\nTake another folder with --out, or delete those runs with --fresh.", 2
        ) from None
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    except (TaskError, WorkerDiedError) as error:
        raise CommandError(f"{error}\nFinished runs are kept; run again to go on.") from None
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; finished runs are kept, the same command goes on from there", 130
        ) from None
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
