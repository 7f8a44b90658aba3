"""``rankgrad bench``: the library's speed on this machine, as ratios taken in one run."""

import argparse
from importlib import import_module
from pathlib import Path

from rankgrad.commands.errors import CommandError, require

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="which suites (default: all)")
    parser.add_argument("--list", action="store_true", help="list the suites and stop")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of torch (default: its own)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the rows as JSON there")


def run(options: argparse.Namespace) -> int:
    """Measure the suites one after the other and print each as a table."""
    from rankgrad.bench import SUITES

    if options.list:
        for name, summary in SUITES.items():
            print(f"{name:<14} {summary}")
        return 0
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        raise CommandError(f"unknown suite {unknown[0]!r}; there are {', '.join(SUITES)}", 2)
    if options.threads is not None and options.threads < 1:
        raise CommandError(f"--threads must be at least 1, got {options.threads}", 2)
    require(["rich", "torchvision", "matplotlib"], "recipes", "the benchmark")
    import torch
    from rich.console import Console

    from rankgrad.bench import machine
    from rankgrad.bench.tables import table, write

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    facts = machine()
    console.print(", ".join(f"{k} {v}" for k, v in facts.items()), markup=False)
    for name in options.suites or SUITES:
        rows = []
        with console.status(f"measuring {name}") as status:
            for row in import_module(f"rankgrad.bench.{name}").rows(options.quick):
                rows.append(row)
                status.update(f"measuring {name}: {row.work}")
        console.print(f"\n{name}: {SUITES[name]}", style="bold", markup=False)
        console.print(table(rows))
        if options.out:
            for path in write(options.out, name, facts, rows):
                console.print(f"Written: {path}", soft_wrap=True, markup=False)
    return 0
