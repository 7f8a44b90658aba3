"""``rankgrad compare brain-age``: losses and stages, on the same data and seeds."""

import argparse
from pathlib import Path

from rankgrad.commands._brain_age import (
    NEEDS,
    PHANTOMS,
    QUICK_PHANTOMS,
    add_setting_options,
    print_table,
    settings_of,
)
from rankgrad.commands._study import run_stored
from rankgrad.commands._terminal import make_console
from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import add_study_options, positive

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of .nii and .nii.gz files")
    add("--table", type=Path, metavar="FILE", help="CSV, TSV or Excel file with file, age, sex")
    add_setting_options(parser)
    add("--seeds", type=positive, metavar="N", default=3, help="seeds a method (default: 3)")
    add_study_options(parser, "runs/compare-brain-age")


def run(options: argparse.Namespace) -> int:
    """Train what is missing, print the table and write the page."""
    require(NEEDS, "brain", "comparing for brain age")
    from rankgrad.data.nifti import DataError
    from rankgrad.recipes.brain_age.comparison import (
        LOSSES,
        SECOND,
        ComparisonSettings,
        first_study,
        longer_study,
        open_data,
        second_study,
    )
    from rankgrad.recipes.brain_age.comparison_page import (
        HEADER,
        comparison_rows,
        write_comparison,
    )
    from rankgrad.recipes.experiments import RunStore

    if (options.images is None) != (options.table is None):
        raise CommandError("scans need both: --images DIR and --table FILE", 2)
    folder: Path = options.out or Path("runs", "compare-brain-age")
    console = make_console(140)
    count = options.phantoms or (QUICK_PHANTOMS if options.quick else 2 * PHANTOMS)
    settings = ComparisonSettings(
        run=settings_of(options, scans=options.images is not None),
        folder=str(folder),
        images=None if options.images is None else str(options.images),
        table=None if options.table is None else str(options.table),
        phantoms=_shares(count),
    )
    first = first_study(settings, options.seeds, LOSSES)
    others = {
        "second": second_study(settings, options.seeds, SECOND),
        "longer": longer_study(settings, options.seeds, SECOND),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scans, _ = open_data(settings)
    except DataError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    data = ("phantoms: " if options.images is None else "") + scans.summary()
    console.print(data, markup=False, soft_wrap=True)
    if options.fresh:
        for name in others:
            RunStore(folder / name).clear()
    console.print(f"First stages: {len(first.tasks())} runs; results in {folder}")
    runs = run_stored(options, first, RunStore(folder), console, _headline)
    for name, study in others.items():
        words = "Second stages" if name == "second" else "First stages in twice the epochs"
        console.print(f"{words}: {len(study.tasks())} runs")
        runs += run_stored(options, study, RunStore(folder / name), console, _headline)
    studies = (first, *others.values())
    rows = [row for study in studies for row in comparison_rows(study, runs)]
    report = write_comparison(first, studies[1:], runs, folder, data=data)
    print_table(console, "Test part, years", HEADER, rows)
    console.print(f"Report: {report}", soft_wrap=True, markup=False)
    return 0


def _shares(count: int) -> tuple[int, int, int]:
    """Half for training, 15 % for validation; a large rest makes a sharp test."""
    train, validation = count // 2, max(2, round(0.15 * count))
    return train, validation, max(2, count - train - validation)


def _headline(metrics: dict[str, float]) -> str:
    return f"MAE {metrics['MAE']:.2f}"
