"""The ``rankgrad`` command: finds the subcommand, calls it, turns errors into one line.

A subcommand is a module of :mod:`rankgrad.commands` with ``add_arguments(parser)`` and
``run(arguments) -> int``. It imports what is heavy inside ``run``, so that ``--help`` is quick.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from rankgrad import __version__
from rankgrad.commands.errors import CommandError

__all__ = ["COMMANDS", "main"]

# name -> one line of help; the module has the name of the command
COMMANDS = {
    "demo": "train on real images with and without a ranking term, and write a report",
    "train": "train a regression model, a detector, a network for brain age or a sorter",
    "compare": "compare methods on the same data and seeds, and write a report",
    "predict": "find boxes on images, or the ages of brains, with a trained model",
    "sorter": "show what a trained sorter is, and measure it",
    "doctor": "show versions, kernels and hardware, and check that the kernels are right",
    "rankers": "plot what each ranker makes of one list of scores, over its temperature",
    "bench": "measure the library's speed on this machine",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 is success, 1 a failure, 2 wrong usage, 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser(arguments).parse_args(arguments)
        run = import_module(f"rankgrad.commands.{options.command}").run
        code: int = run(options)
        return code
    except CommandError as error:
        print(f"rankgrad: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("rankgrad: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, head for instance, has gone: no more output, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rankgrad", description="Rank-based objectives for PyTorch, exact and fast."
    )
    parser.add_argument("--version", action="version", version=f"rankgrad {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=_sentence(summary))
        if name in arguments:
            import_module(f"rankgrad.commands.{name}").add_arguments(command)
    return parser


def _sentence(summary: str) -> str:
    return summary[0].upper() + summary[1:] + "."
