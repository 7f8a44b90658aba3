"""Options that several subcommands share."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from rankgrad.commands.errors import CommandError

__all__ = [
    "add_device_options",
    "add_run_options",
    "add_study_options",
    "command_line",
    "device_of",
    "names",
    "natural",
    "numbers",
    "positive",
]


def positive(text: str) -> int:
    """Read a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def natural(text: str) -> int:
    """Read a whole number from zero on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Read words with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers above zero with commas between them."""
    return tuple(positive(part) for part in text.split(","))


def command_line(*verbs: str) -> str:
    """Return the command that makes the same results.

    Without folders, which are nobody's business, and without what says whether to go on in them.

    Args:
        verbs: the command alone, for where it was not called from the command line.
    """
    words = sys.argv[1:] if tuple(sys.argv[1 : 1 + len(verbs)]) == verbs else list(verbs)
    kept, skip = [], False
    for word in words:
        if not skip and word.split("=")[0] not in ("--out", "--name", "--resume", "--fresh"):
            kept.append(word)
        skip = not skip and word in ("--out", "--name")
    return shlex.join(["rankgrad", *kept])


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add where to compute, and on how many threads."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add("--threads", type=positive, metavar="N", help="threads of torch (default: its own)")


def device_of(name: str) -> str:
    """Return the device of ``--device``.

    Raises:
        CommandError: there is no such device.
    """
    import torch

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise CommandError(f"--device {name}: {str(error).splitlines()[0]}", 2) from None
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def add_run_options(parser: argparse.ArgumentParser, folder: str, name: str) -> None:
    """Add where a training run lives, and whether it goes on.

    Args:
        parser: of the subcommand.
        folder: the folder of such runs, e.g. ``"runs/sorter"``.
        name: the words for the name of a run that gets none.
    """
    add = parser.add_argument
    add("--name", metavar="NAME", help=f"name of the run (default: {name})")
    add("--out", type=Path, metavar="DIR", help=f"results folder (default: {folder}/NAME)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder (the default)"
    )
    again.add_argument("--fresh", action="store_true", help="start over in the folder of a run")


def add_study_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add how many runs of a study go at a time, where they live, and whether they are kept.

    Args:
        parser: of the subcommand.
        folder: the words for the folder of a study that is given none.
    """
    add = parser.add_argument
    add(
        "--workers",
        type=positive,
        metavar="N",
        default=min(2, os.cpu_count() or 1),
        help="runs at a time, one thread each (default: %(default)s)",
    )
    add("--out", type=Path, metavar="DIR", help=f"results folder (default: {folder})")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="keep finished runs, add what is missing (default)"
    )
    again.add_argument("--fresh", action="store_true", help="delete the runs of the folder first")
