"""``rankgrad predict``: finds which kind of model is to predict."""

import argparse
from importlib import import_module

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.predict_<name>
KINDS = {
    "detection": "boxes on images, with a trained detector",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, summary in KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=f"Predict {summary}.")
        import_module(f"rankgrad.commands.predict_{name}").add_arguments(kind)


def run(options: argparse.Namespace) -> int:
    """Predict."""
    code: int = import_module(f"rankgrad.commands.predict_{options.kind}").run(options)
    return code
