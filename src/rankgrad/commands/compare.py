"""``rankgrad compare``: finds what is to be compared."""

import argparse

from rankgrad.commands._kinds import add_kinds, run

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.compare_<name>
KINDS = {
    "brain-age": "losses and stages of networks for brain age",
    "detection": "losses of detectors, each at its own learning rate",
    "regression": "methods for regression with rare labels",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    add_kinds(parser, "compare", KINDS)
