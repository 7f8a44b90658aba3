"""``rankgrad predict brain-age``: ages and brain-age gaps of scans, as a CSV file."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands._brain_age import (
    add_loading_options,
    add_table_options,
    columns_of,
    list_problems,
)
from rankgrad.commands._terminal import counting
from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import add_device_options, device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankgrad.data.nifti import Problem, Scan

__all__ = ["add_arguments", "run"]

NEEDS = ("rich", "nibabel", "openpyxl")
SEXES = ("female", "male")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("model", type=Path, help="brain_age.pt of a training run")
    add_table_options(parser)
    add("--sex", choices=SEXES, help="of all scans, where there is no table")
    add(
        "--bias-correction",
        action="store_true",
        help="add ages and gaps corrected for the trend with age on the validation scans",
    )
    add(
        "--out", type=Path, default=Path("brain_age.csv"), metavar="FILE",
        help="(default: brain_age.csv)",
    )  # fmt: skip
    add("--batch-size", type=int, default=8, metavar="N", help="(default: 8)")
    add_loading_options(parser)
    add_device_options(parser)


def run(options: argparse.Namespace) -> int:
    """Predict and write."""
    require(NEEDS, "brain", "predicting brain age")
    import torch
    from rich.console import Console

    from rankgrad.data.nifti import DataError, ScanDataset
    from rankgrad.recipes.brain_age.prediction import predict_ages, write_predictions
    from rankgrad.recipes.brain_age.running import load_brain_age

    if options.images is None:
        raise CommandError("--images DIR must be given", 2)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    console = Console(highlight=False)
    try:
        trained = load_brain_age(options.model)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    settings, device = trained.settings, device_of(options.device)
    if options.bias_correction and not trained.bias.usable:
        raise CommandError(
            "this model has no usable age-bias correction: on its validation scans the predicted "
            "age did not rise with age"
        )
    try:
        scans, problems = _scans(options, need_sex=settings.sex)
        data = ScanDataset(
            scans, settings.size, spacing=settings.spacing, cache=options.cache,
            strict=options.strict,
        )  # fmt: skip
        with counting(console, "reading volumes") as tell:
            problems = [*problems, *data.prepare(tell)]
        ages = predict_ages(
            trained.model.to(device), data, device, precision=settings.precision,
            batch_size=options.batch_size, workers=options.workers or 0,
        )  # fmt: skip
        bias = trained.bias if options.bias_correction else None
        write_predictions(options.out, data.scans, ages, bias)
    except DataError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    console.print(
        f"Ages of {len(data)} scans: {options.out}", markup=False, soft_wrap=True, highlight=False
    )
    list_problems(console, problems)
    return 0


def _scans(
    options: argparse.Namespace, *, need_sex: bool
) -> "tuple[Sequence[Scan], Sequence[Problem]]":
    from rankgrad.data.nifti import list_images, read_scans

    if options.table is not None:
        found = read_scans(
            options.images, options.table, columns=columns_of(options), pattern=options.pattern,
            need_sex=need_sex, age_range=tuple(options.age_range), strict=options.strict, need=(),
        )  # fmt: skip
        return sorted(found.all, key=lambda scan: scan.name), found.problems
    scans = list_images(options.images, pattern=options.pattern)
    if not need_sex:
        return scans, ()
    if options.sex is None:
        raise CommandError(
            "this model takes sex as an input: give a --table with it, or --sex for all scans", 2
        )
    return [replace(scan, sex=SEXES.index(options.sex)) for scan in scans], ()
