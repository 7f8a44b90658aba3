"""``rankgrad predict``: finds which kind of model is to predict."""

import argparse

from rankgrad.commands._kinds import add_kinds, run

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.predict_<name>
KINDS = {
    "brain-age": "ages and brain-age gaps of scans, with a trained model",
    "detection": "boxes on images, with a trained detector",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    add_kinds(parser, "predict", KINDS)
