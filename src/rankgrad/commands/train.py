"""``rankgrad train``: finds what is to be trained."""

import argparse
from importlib import import_module

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.train_<name>
KINDS = {
    "detection": "a detector, by ranking its boxes",
    "regression": "a model on data with rare labels, with any loss and terms",
    "sorter": "a network that ranks, on synthetic sequences",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, summary in KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=f"Train {summary}.")
        import_module(_module(name)).add_arguments(kind)


def run(options: argparse.Namespace) -> int:
    """Train it."""
    code: int = import_module(_module(options.kind)).run(options)
    return code


def _module(name: str) -> str:
    return f"rankgrad.commands.train_{name.replace('-', '_')}"
