"""``rankgrad bench``: the library's speed on this machine, as ratios taken in one run."""

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.bench import Bench, Row

__all__ = ["add_arguments", "run"]

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("suites", nargs="*", metavar="SUITE", help="which suites (default: all)")
    add("--list", action="store_true", help="list the suites and the peers and stop")
    add("--quick", action="store_true", help="small sizes, seconds: does it run at all")
    add("--threads", type=positive, metavar="N", help="threads of torch (default: its own)")
    add(
        "--budget",
        type=positive,
        metavar="SECONDS",
        default=30,
        help="leave out what would take longer a call, by forecast (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where SUITE.json and bench.html go (default: runs/bench, with --quick "
        "runs/bench-quick)",
    )


def run(options: argparse.Namespace) -> int:
    """Measure the suites one after the other, print tables, write JSON and a page."""
    from rankgrad.bench import SUITES

    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        raise CommandError(f"unknown suite {unknown[0]!r}; there are {', '.join(SUITES)}", 2)
    if options.list:
        _list()
        return 0
    require(["rich", "matplotlib", "jinja2"], "recipes", "the benchmark")
    import torch
    from rich.console import Console

    from rankgrad.bench import Bench, machine, peers
    from rankgrad.bench.page import page

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    facts = machine()
    for known in (facts, peers.found()):
        console.print(", ".join(f"{name} {fact}" for name, fact in known.items()), markup=False)
    folder = options.out or Path("runs", "bench-quick" if options.quick else "bench")
    _claim(folder)
    bench = Bench(quick=options.quick, budget=float(options.budget))
    measured: dict[str, list[Row]] = {}
    stopped = ""
    for name in options.suites or SUITES:
        stopped = _measure(console, name, bench, measured.setdefault(name, []))
        record = {
            "suite": name,
            "machine": facts,
            "peers": peers.found(),
            "quick": options.quick,
            "stopped": stopped,
        }
        _show(console, name, measured[name], folder, record)
        if stopped:
            break
    warning = _warning(options.quick, stopped)
    page(facts, peers.found(), measured, warning).write(folder / "bench.html")
    console.print(f"Page: {folder / 'bench.html'}", soft_wrap=True, markup=False)
    if stopped:
        raise CommandError(f"{stopped}; what was measured is in {folder}", _INTERRUPTED)
    return 0


def _claim(folder: Path) -> None:
    """Say before the measuring, and not after, that nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None


def _list() -> None:
    from rankgrad.bench import SUITES, peers

    for name, summary in SUITES.items():
        print(f"{name:<14} {summary}")
    print("\nCompared with, where installed:")
    for name, state in peers.found().items():
        print(f"{name:<24} {state}")


def _measure(console: "Console", name: str, bench: "Bench", rows: "list[Row]") -> str:
    """Append the rows of a suite; return why it stopped early, or nothing."""
    with console.status(f"measuring {name}") as status:
        try:
            for row in import_module(f"rankgrad.bench.suites.{name}").rows(bench):
                rows.append(row)
                status.update(f"measuring {name}: {row.work}")
        except KeyboardInterrupt:
            return f"interrupted in {name}"
    return ""


def _show(
    console: "Console", name: str, rows: "Sequence[Row]", folder: Path, record: Mapping[str, Any]
) -> None:
    from rankgrad.bench import SUITES
    from rankgrad.bench.tables import table, write

    console.print(f"\n{name}: {SUITES[name]}", style="bold", markup=False)
    console.print(table(rows))
    path = folder / f"{name}.json"
    write(path, record, rows)
    console.print(f"Written: {path}", soft_wrap=True, markup=False)


def _warning(quick: bool, stopped: str) -> str:
    parts = ["Small sizes: nothing here says how fast anything is." if quick else "", stopped]
    return " ".join(part for part in parts if part)
