"""What the brain-age subcommands share: their options, their data, a table."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands._terminal import counting
from rankgrad.commands.errors import CommandError
from rankgrad.commands.options import positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.data.nifti import Problem, Scans
    from rankgrad.recipes.brain_age.settings import BrainAgeSettings

__all__ = [
    "NEEDS",
    "add_loading_options",
    "add_setting_options",
    "add_table_options",
    "columns_of",
    "list_problems",
    "phantoms",
    "print_table",
    "settings_of",
]

NEEDS = ("rich", "nibabel", "openpyxl", "torchio", "matplotlib", "jinja2")
QUICK: dict[str, Any] = {
    "filters": 2, "blocks": 2, "size": (18, 20, 18), "epochs": 2, "batch_size": 8,
}  # fmt: skip
PHANTOMS = 200
QUICK_PHANTOMS = 24


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """Add what training and comparing share: network, loss and schedule."""
    add = parser.add_argument
    add(
        "--preset",
        choices=("published", "small"),
        help="what the settings start from (default: published for scans, small for phantoms)",
    )
    add("--filters", type=positive, metavar="N", help="channels of the first convolution")
    add("--blocks", type=positive, metavar="N", help="dense blocks")
    add("--size", type=positive, nargs=3, metavar="N", help="sides of the volumes, in voxels")
    add(
        "--spacing",
        type=float,
        metavar="X",
        help="of the voxels, in mm; 0 takes volumes of this size as they are (default: 2)",
    )
    add("--loss", choices=("mse", "l1"), help="the plain error (default: mse)")
    add("--weight", type=float, metavar="X", help="of the ranking terms, lambda (default: 10)")
    add("--beta", type=float, metavar="X", help="of the age differences (default: 1)")
    add("--ranker", metavar="R", help="name of a ranker, or file of a sorter (default: sodeep)")
    add("--epochs", type=positive, metavar="N", help="at most (default: 150, small 20)")
    add("--batch-size", type=positive, metavar="N", help="scans a step (default: 32, small 16)")
    add("--accumulate", type=positive, metavar="N", help="parts a batch is computed in")
    add("--optimizer", choices=("adam", "sgd"), help="of the first stage (default: adam)")
    add("--lr", type=float, metavar="X", help="of the first stage (default: 0.001)")
    add("--second-optimizer", choices=("adam", "sgd"), help="(default: sgd, small adam)")
    add("--second-lr", type=float, metavar="X", help="(default: 1e-5, small 0.001)")
    add("--weight-decay", type=float, metavar="X", help="(default: 0.0005)")
    add("--patience", type=positive, metavar="N", help="epochs without a better validation MAE")
    add("--lr-patience", type=int, metavar="N", help="the same, until the learning rate is halved")
    add("--age-step", type=float, metavar="X", help="of the second stage's ages (default: 5)")
    add("--start", choices=("mean", "zero"), help="the first stage's last bias (default: mean)")
    add("--no-sex", dest="sex", action="store_const", const=False, help="do not take sex as input")
    add(
        "--no-augment", dest="augment", action="store_const", const=False,
        help="take the volumes as they are",
    )  # fmt: skip
    add("--precision", choices=("float32", "bfloat16", "float16"), help="of the convolutions")
    add(
        "--phantoms", type=positive, metavar="N",
        help=f"generated heads to take where there are no scans (default: {PHANTOMS}, compare "
        f"{2 * PHANTOMS})",
    )  # fmt: skip
    add("--quick", action="store_true", help="a few seconds, to see that it works")


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add where scans and their ages are."""
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of .nii and .nii.gz files")
    add("--table", type=Path, metavar="FILE", help="CSV, TSV or Excel file with file, age, sex")
    add(
        "--column", action="append", default=[], metavar="KEY=NAME",
        help="what a column is called; the keys are file, age, sex, subject, split",
    )  # fmt: skip
    add("--pattern", default="*", metavar="GLOB", help="which files of the folder (default: all)")
    add(
        "--age-range", type=float, nargs=2, default=(0.0, 120.0), metavar="X",
        help="ages outside are left out (default: 0 120)",
    )  # fmt: skip


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """Add how volumes are read."""
    add = parser.add_argument
    add("--workers", type=int, metavar="N", help="processes that read volumes")
    add("--cache", type=Path, metavar="DIR", help="folder for prepared volumes")
    add("--strict", action="store_true", help="refuse where a scan would be left out")


def settings_of(options: argparse.Namespace, *, scans: bool) -> "BrainAgeSettings":
    """Return the settings that the options ask for.

    Args:
        options: of the command.
        scans: whether there are scans, not phantoms.
    """
    from rankgrad.recipes.brain_age.settings import PRESETS

    preset = PRESETS[options.preset or ("published" if scans and not options.quick else "small")]
    values = dict(QUICK if options.quick else {})
    for field in fields(preset):
        given = getattr(options, field.name, None)
        if given is not None:
            values[field.name] = tuple(given) if field.name == "size" else given
    if values.get("spacing") == 0:
        values["spacing"] = None
    try:
        return replace(preset, **values)
    except ValueError as error:
        raise CommandError(str(error), 2) from None


def columns_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the columns that ``--column`` names."""
    found = {}
    for text in options.column:
        key, equals, name = text.partition("=")
        if not equals or key not in ("file", "age", "sex", "subject", "split"):
            raise CommandError(
                f"--column must be KEY=NAME with file, age, sex, subject or split, got {text!r}", 2
            )
        found[key] = name
    return found


def phantoms(
    options: argparse.Namespace, settings: "BrainAgeSettings", folder: Path, console: "Console"
) -> "Scans":
    """Generate phantoms, or take those of last time, in ``folder``."""
    from rankgrad.data.nifti import read_scans, write_phantoms

    count = options.phantoms or (QUICK_PHANTOMS if options.quick else PHANTOMS)
    with counting(console, f"generating {count} phantoms") as tell:
        table = write_phantoms(folder, count, settings.size, progress=tell)
    return read_scans(folder / "images", table, need_sex=settings.sex)


def list_problems(
    console: "Console", problems: "Sequence[Problem]", *, most: int = 20, where: str = ""
) -> None:
    """Say which scans were left out, and why."""
    if not problems:
        return
    console.print(f"{len(problems)} problems; left out:", soft_wrap=True)
    for problem in problems[:most]:
        console.print(f"  {problem}", markup=False, soft_wrap=True, style="dim")
    if len(problems) > most:
        rest = f"; all are in {where}" if where else ""
        console.print(f"  and {len(problems) - most} more{rest}", style="dim", soft_wrap=True)


def print_table(
    console: "Console", title: str, header: Sequence[str], rows: Sequence[Sequence[str]],
    *, words: int = 1,
) -> None:  # fmt: skip
    """Print a table whose first ``words`` columns are words and the others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i < words else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
