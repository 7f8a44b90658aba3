"""``rankgrad train brain-age``: from NIfTI files and a table of ages to a model and a report."""

import argparse
import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands._brain_age import (
    NEEDS,
    add_loading_options,
    add_setting_options,
    add_table_options,
    columns_of,
    list_problems,
    phantoms,
    print_table,
    settings_of,
)
from rankgrad.commands._terminal import counting
from rankgrad.commands.errors import CommandError, require, training_errors
from rankgrad.commands.options import add_device_options, add_run_options, device_of

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.data.nifti import Scans
    from rankgrad.recipes.brain_age.running import BrainAge, Parts
    from rankgrad.recipes.brain_age.settings import BrainAgeSettings

__all__ = ["add_arguments", "run"]

STAGES = {"1": (1,), "2": (2,), "both": (1, 2)}
HOME = Path("runs", "brain-age")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_table_options(parser)
    add(
        "--stage", choices=tuple(STAGES), default="both",
        help="which to train; 2 goes on from a finished 1 in the folder (default: both)",
    )  # fmt: skip
    add("--first", type=Path, metavar="FILE", help="brain_age.pt whose first stage to start from")
    add_setting_options(parser)
    add("--seed", type=int, metavar="N", help="of weights, order and augmentation (default: 0)")
    add_loading_options(parser)
    add_device_options(parser)
    add_run_options(parser, str(HOME), "of the images' folder, or phantoms")


def run(options: argparse.Namespace) -> int:
    """Train, or go on training; test; write the predictions and the page."""
    require(NEEDS, "brain", "training for brain age")
    import torch

    from rankgrad.recipes.brain_age.many_workers import joined_workers

    if (options.images is None) != (options.table is None):
        raise CommandError("scans need both: --images DIR and --table FILE", 2)
    if options.first is not None and options.stage == "1":
        raise CommandError("--first is for the second stage, which --stage 1 does not train", 2)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with joined_workers(device_of(options.device)) as (device, chief):
        return _run(options, device, chief)


def _run(options: argparse.Namespace, device: str, chief: bool) -> int:
    from rich.console import Console

    from rankgrad.data.nifti import DataError
    from rankgrad.recipes.brain_age.running import open_parts

    settings = settings_of(options, scans=options.images is not None)
    data = options.images.resolve().name if options.images else "phantoms"
    folder: Path = options.out or HOME / (options.name or data)
    console = Console(highlight=False, quiet=not chief)
    console.print(
        f"stage {options.stage}, at most {settings.epochs} epochs on {device}; results in {folder}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    try:
        scans = _scans(options, settings, console)
        console.print(scans.summary(), markup=False, soft_wrap=True)
        for note in scans.notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)
        cache = options.cache or HOME / "cache"
        with counting(console, "reading volumes") as tell:
            parts = open_parts(scans, settings, cache=cache, strict=options.strict, progress=tell)
    except DataError as error:
        raise CommandError(_with_hint(str(error), settings)) from None
    trained = _train(options, settings, parts, folder, data, device, console)
    if chief:
        _report(trained, parts, scans, folder, device, console)
        list_problems(console, parts.skipped, where=str(folder / "skipped.txt"))
    return 0


def _scans(
    options: argparse.Namespace, settings: "BrainAgeSettings", console: "Console"
) -> "Scans":
    from rankgrad.data.nifti import read_scans

    if options.images is None:
        size = "x".join(map(str, settings.size))
        console.print("no --images: phantoms, generated heads that age, in their place")
        return phantoms(options, settings, HOME / f"phantoms-{size}", console)
    return read_scans(
        options.images, options.table, columns=columns_of(options), pattern=options.pattern,
        need_sex=settings.sex, age_range=tuple(options.age_range), strict=options.strict,
        seed=settings.seed,
    )  # fmt: skip


def _with_hint(message: str, settings: "BrainAgeSettings") -> str:
    if settings.sex and "sex" in message:
        return f"{message}\n--column sex=NAME names the column; --no-sex does without."
    return message


def _train(
    options: argparse.Namespace, settings: "BrainAgeSettings", parts: "Parts", folder: Path,
    data: str, device: str, console: "Console",
) -> "BrainAge":  # fmt: skip
    """One stage after the other, each with a display of its own."""
    from rankgrad.recipes.brain_age.progress import DeadStartError, DivergedError, Progress
    from rankgrad.recipes.brain_age.running import train_brain_age
    from rankgrad.recipes.display import epoch_display

    def describe(p: Progress) -> str:
        known = not math.isnan(p.mae)
        error = f", val MAE {p.mae:.2f} (best {p.best:.2f})" if known else ""
        return f"stage {p.stage}, loss {p.loss:.3f}{error}"

    workers = options.workers
    if workers is None:
        workers = 0 if settings.size != (91, 109, 91) else 2
    # A first stage that is given need not be trained.
    stages = STAGES[options.stage] if options.first is None else (2,)
    fresh = options.fresh
    try:
        for stage in stages:
            with training_errors(), epoch_display(console, describe) as show:
                trained = train_brain_age(
                    settings, parts, folder, stages=(stage,), data=data, first=options.first,
                    device=device, workers=workers, fresh=fresh, on_progress=show,
                )  # fmt: skip
            fresh = False
            if trained.resumed_at:
                console.print(f"Went on after epoch {trained.resumed_at} of stage {stage}.")
            entry = trained.about["stages"][str(stage)]
            console.print(
                f"stage {stage}: {entry['epochs']} epochs, "
                f"validation MAE {entry['validation MAE']:.2f}"
            )
    except DivergedError as error:
        raise CommandError(f"{error}; try a lower --lr or --second-lr") from None
    except DeadStartError as error:
        raise CommandError(str(error)) from None
    return trained


def _report(
    trained: "BrainAge", parts: "Parts", scans: "Scans", folder: Path, device: str,
    console: "Console",
) -> None:  # fmt: skip
    from rankgrad.recipes.brain_age.page import HEADER, stage_rows, tested, write_run_page
    from rankgrad.recipes.brain_age.prediction import predict_ages, write_predictions
    from rankgrad.recipes.experiments.store import write_json

    split, data = ("test", parts.test) if len(parts.test) else ("validation", parts.validation)
    ages = predict_ages(trained.model, data, device, precision=trained.settings.precision)
    found = tested(data, ages)
    bias = trained.bias if trained.bias.usable else None
    write_predictions(folder / "predictions.csv", found.scans, found.predictions, bias)
    rows = stage_rows(found)
    write_json(
        folder / "test.json",
        {
            "split": split,
            "table": [dict(zip(("stage", *HEADER[1:]), r, strict=True)) for r in rows],
        },
    )
    histories = {f"stage {k}": _history(folder / f"stage{k}" / "history.csv") for k in (1, 2)}
    report = write_run_page(
        folder, trained, parts, found, histories, split=split, notes=scans.notes
    )
    print_table(console, f"{split} scans, years", HEADER, rows, words=2)
    model = folder / "brain_age.pt"
    console.print(f"Model: {model}\nReport: {report}", markup=False, soft_wrap=True)
    console.print(
        f"rankgrad predict brain-age {model} --images DIR", style="dim", soft_wrap=True,
        markup=False,
    )  # fmt: skip


def _history(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)
        ]
