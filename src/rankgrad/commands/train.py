"""``rankgrad train``: finds what is to be trained."""

import argparse

from rankgrad.commands._kinds import add_kinds, run

__all__ = ["KINDS", "add_arguments", "run"]

# name -> one line of help; the module is rankgrad.commands.train_<name>
KINDS = {
    "brain-age": "networks that read the age of a brain from MRI, with ranking losses",
    "detection": "a detector, by ranking its boxes",
    "regression": "a model on data with rare labels, with any loss and terms",
    "sorter": "a network that ranks, on synthetic sequences",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each kind, with its options."""
    add_kinds(parser, "train", KINDS)
