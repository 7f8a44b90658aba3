"""``rankgrad train sorter``: a network that ranks, trained on synthetic sequences."""

import argparse
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands._terminal import make_console
from rankgrad.commands.errors import CommandError, require, training_errors
from rankgrad.commands.options import (
    add_device_options,
    add_run_options,
    command_line,
    device_of,
    names,
    numbers,
    positive,
)

if TYPE_CHECKING:
    from rankgrad.recipes.sorters.settings import SorterSettings

__all__ = ["add_arguments", "run"]

# The paper's run: 360,000 training sequences an epoch.
_PAPER = {"epochs": 400, "steps": 1406, "lr_step": 70, "patience": 400}
_QUICK = {"epochs": 2, "steps": 5, "batch_size": 16, "validation": 5}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--model", default="set", help="architecture: set, lstm, lstmla, ... (default: set)")
    add(
        "--length",
        type=numbers,
        metavar="N[,N...]",
        help="scores a sequence (default: 100; for set many lengths from 5 to 1000)",
    )
    add("--dist", type=names, metavar="NAME[,...]", help="distributions, by name or number")
    add("--scores", metavar="FILE", help="train on scores of your own: .npy, or numbers as text")
    add("--batch-size", type=positive, metavar="N", help="sequences a step (default: 256)")
    add("--steps", type=positive, metavar="N", help="steps an epoch (default: 100)")
    add("--epochs", type=positive, metavar="N", help="epochs (default: 60)")
    add("--lr", type=float, metavar="X", help="learning rate of Adam (default: 0.001)")
    add("--lr-step", type=positive, metavar="N", help="halve it every N epochs (default: 10)")
    add("--patience", type=positive, metavar="N", help="stop after N epochs without a better one")
    add("--validation", type=positive, metavar="N", help="sequences of each distribution")
    add("--seed", type=int, metavar="N", help="of weights and sequences (default: 0)")
    add("--precision", choices=("float32", "tf32", "bfloat16"), help="(default: float32)")
    add_device_options(parser)
    add_run_options(parser, "runs/sorter", "the model and its length")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--paper", action="store_true", help="as long as in the paper; hours to days")
    size.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")


def run(options: argparse.Namespace) -> int:
    """Train, or go on training, and say where the sorter is."""
    require(["rich"], "recipes", "training a sorter")
    import torch

    from rankgrad.recipes.display import epoch_display
    from rankgrad.recipes.sorters.running import Progress
    from rankgrad.recipes.sorters.training import train_sorter

    settings = _settings(options)
    device = device_of(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    folder: Path = options.out or Path("runs", "sorter", options.name or settings.name)
    console = make_console()
    console.print(
        f"sorter {settings.model}, lengths {', '.join(map(str, settings.lengths))}, "
        f"{settings.epochs} epochs of {settings.steps} steps on {device}; results in {folder}",
        markup=False,
        soft_wrap=True,
    )

    def describe(p: Progress) -> str:
        errors = f", error {p.error:.5f} (best {p.best:.5f})" if isfinite(p.error) else ""
        return f"loss {p.loss:.5f}{errors}"

    with training_errors(), epoch_display(console, describe, lines=50) as show:
        result = train_sorter(
            settings,
            folder,
            device=device,
            fresh=options.fresh,
            on_progress=show,
            command=command_line("train", "sorter"),
        )
    if result.resumed_at:
        console.print(f"Went on after epoch {result.resumed_at}.")
    console.print(
        f"Best validation error {result.error:.5f} (ranks over n) after {result.epochs} epochs, "
        f"{result.seconds:.0f} s.\nSorter: {result.path}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"rankgrad sorter eval {result.path}", style="dim", soft_wrap=True)
    return 0


def _settings(options: argparse.Namespace) -> "SorterSettings":
    from rankgrad.recipes.sorters.settings import SorterSettings, default_lengths

    given: tuple[str, ...] = (
        "dist",
        "scores",
        "batch_size",
        "steps",
        "epochs",
        "lr",
        "lr_step",
        "patience",
    )
    given += ("validation", "seed", "precision")
    values: dict[str, Any] = dict(_PAPER if options.paper else _QUICK if options.quick else {})
    values |= {k: getattr(options, k) for k in given if getattr(options, k) is not None}
    try:
        lengths = options.length or default_lengths(options.model)
        return SorterSettings(model=options.model, lengths=lengths, **values)
    except ValueError as error:
        raise CommandError(str(error), 2) from None
