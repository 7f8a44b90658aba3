"""``rankgrad compare``: finds what is to be compared."""

import argparse
from importlib import import_module

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.compare_<name>
KINDS = {
    "detection": "losses of detectors, each at its own learning rate",
    "regression": "methods for regression with rare labels",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, summary in KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=f"Compare {summary}.")
        import_module(f"rankgrad.commands.compare_{name}").add_arguments(kind)


def run(options: argparse.Namespace) -> int:
    """Compare them."""
    code: int = import_module(f"rankgrad.commands.compare_{options.kind}").run(options)
    return code
