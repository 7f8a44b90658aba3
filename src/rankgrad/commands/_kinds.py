"""Commands that do one thing to several kinds of model, such as ``rankgrad train sorter``."""

import argparse
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

__all__ = ["add_kinds", "run"]


def add_kinds(parser: argparse.ArgumentParser, verb: str, kinds: Mapping[str, str]) -> None:
    """Add a parser for each kind, with its options.

    Args:
        parser: of the command.
        verb: its name.
        kinds: name -> one line of help; the module is ``rankgrad.commands.<verb>_<name>``.
    """
    choice = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, summary in kinds.items():
        words = f"{verb.capitalize()} {summary}."
        _module(verb, name).add_arguments(choice.add_parser(name, help=summary, description=words))


def run(options: argparse.Namespace) -> int:
    """Run the command for the kind that was chosen."""
    code: int = _module(options.command, options.kind).run(options)
    return code


def _module(verb: str, kind: str) -> ModuleType:
    return import_module(f"rankgrad.commands.{verb}_{kind.replace('-', '_')}")
