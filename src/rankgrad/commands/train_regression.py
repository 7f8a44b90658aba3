"""``rankgrad train regression``: one method on data with rare labels, with Lightning."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands._regression import (
    add_data_options,
    add_training_options,
    load,
    preset_values,
    settings_from,
)
from rankgrad.commands._terminal import make_console, make_table
from rankgrad.commands.errors import CommandError, require, training_errors
from rankgrad.commands.options import add_device_options, add_run_options, natural, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.regression.fitting import FitResult
    from rankgrad.recipes.regression.method import RegressionMethod
    from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    method = parser.add_argument_group("method").add_argument
    method(
        "--method",
        metavar="NAME",
        help="by name, see rankgrad compare regression --list (default, where nothing else here is "
        "said: LDS + RnC)",
    )
    method("--loss", metavar="TEXT", help="mse (otherwise the default), l1, huber:beta=1, ...")
    method("--reweight", choices=("none", "inverse", "sqrt-inverse"), help="weights for rare ones")
    method("--lds", nargs="?", const="", metavar="OPTIONS", help="smooth the label counts")
    method("--fds", nargs="?", const="", metavar="OPTIONS", help="smooth the features")
    method("--rrt", nargs="?", const="", metavar="OPTIONS", help="retrain the head, re-weighted")
    method(
        "--pretrain",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="train the encoder first, by Rank-N-Contrast",
    )
    method(
        "--term",
        action="append",
        default=[],
        metavar="TEXT",
        help="a further loss, e.g. ranksim:weight=0.1,strength=10; may be repeated",
    )
    add = parser.add_argument
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add_device_options(parser)
    add("--devices", type=positive, default=1, metavar="N", help="how many (default: 1)")
    add(
        "--precision",
        choices=("32-true", "16-mixed", "bf16-mixed", "64-true"),
        default="32-true",
        help="(default: 32-true)",
    )
    add(
        "--loaders",
        type=natural,
        default=0,
        metavar="N",
        help="processes that load data (default: 0)",
    )
    add_run_options(parser, "runs/regression", "the data's")
    add_data_options(parser)
    add_training_options(parser)


def run(options: argparse.Namespace) -> int:
    """Train, or go on training, and print the test metrics."""
    require(["rich", "lightning", "sklearn"], "recipes", "training a regression model")
    import torch

    method = _method(options)
    settings = settings_from(options)
    console = make_console()
    # For every further device Lightning calls the command again.
    console.quiet = os.environ.get("LOCAL_RANK", "0") != "0"
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    name = options.name or Path(settings.data.source).stem
    folder: Path = options.out or Path("runs", "regression", name)
    _, lines = load(settings, options.seed, console)
    from rankgrad.recipes.regression.method import describe
    from rankgrad.recipes.regression.stages import stages

    epochs = stages(method, settings.epochs)[0].total
    first = f"{describe(method)}; {epochs} epochs; results in {folder}"
    for line in [first, *lines]:
        console.print(line, markup=False, soft_wrap=True)
    result = _fit(options, settings, method, folder, console)
    if result.resumed_at is not None:
        console.print(f"Went on after epoch {result.resumed_at}.")
    _print(console, result)
    console.print(f"\nResults: {folder}", soft_wrap=True, markup=False)
    return 0


def _method(options: argparse.Namespace) -> "RegressionMethod":
    """Put the method together: preset or name, then what single options add."""
    from rankgrad.recipes.regression.method import LOSSES, MethodError, describe, parse_method
    from rankgrad.recipes.regression.methods import METHODS, RECOMMENDED, chosen

    preset: dict[str, Any] = preset_values(options)
    parts = ("loss", "reweight", "lds", "fds", "rrt", "pretrain")
    named = options.term or any(getattr(options, part) is not None for part in parts)
    try:
        text = preset.get("method", "mse" if named else METHODS[RECOMMENDED])
        if options.method is not None:
            known = options.method.lower() in (name.lower() for name in METHODS)
            text = describe(chosen([options.method])[0]) if known else options.method
        words = text.split()
        if options.loss:
            words = [options.loss, *(w for w in words if w.partition(":")[0] not in LOSSES)]
        if options.reweight:
            words = [w for w in words if w not in ("inverse", "sqrt-inverse")]
            words += [options.reweight] if options.reweight != "none" else []
        for kind in ("lds", "fds", "rrt", "pretrain"):
            given = getattr(options, kind)
            if given is not None:
                words = [w for w in words if w.partition(":")[0] != kind]
                words.append(f"{kind}:{given}" if given else kind)
        return parse_method("method", " ".join([*words, *options.term]))
    except MethodError as error:
        raise CommandError(str(error), 2) from None


def _fit(
    options: argparse.Namespace,
    settings: "RegressionSettings",
    method: "RegressionMethod",
    folder: Path,
    console: "Console",
) -> "FitResult":
    from rankgrad.data.regression import DataError
    from rankgrad.recipes.display import epoch_display
    from rankgrad.recipes.regression.fitting import FitOptions, fit
    from rankgrad.recipes.regression.method import MethodError
    from rankgrad.recipes.regression.progress import ProgressCallback
    from rankgrad.recipes.regression.regressor import ModelError

    how = FitOptions(
        options.seed, options.device, options.devices, options.precision, options.loaders
    )
    refused = training_errors(DataError, MethodError, ModelError)
    with refused, epoch_display(console, str) as show:
        shown = [ProgressCallback(show)]
        return fit(settings, method, folder, how, fresh=options.fresh, callbacks=shown)


def _print(console: "Console", result: "FitResult") -> None:
    from rankgrad.recipes.regression.metrics import METRICS, REGIONS

    names = {"mae": "MAE", "mse": "MSE", "gm": "GM error"}
    rows = [
        [
            names.get(metric, metric.capitalize()),
            *(f"{result.metrics[f'{metric}_{region}']:.4g}" for region in REGIONS),
        ]
        for metric in METRICS
    ]
    console.print(make_table("Test set", ["", *REGIONS], rows))
    console.print(f"Balanced MAE: {result.metrics['mae_balanced']:.4g}")
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
