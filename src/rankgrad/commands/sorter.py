"""``rankgrad sorter``: what a trained sorter is, and how good."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands._terminal import make_console, make_table
from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import names, numbers, positive

if TYPE_CHECKING:
    from rankgrad.recipes.sorters.evaluation import Measured
    from rankgrad.sorters import Checkpoint

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="print what a checkpoint is", description=_SHOW)
    show.add_argument("file", metavar="FILE", help=_FILE)
    measure = verbs.add_parser("eval", help="measure its error and its speed", description=_EVAL)
    measure.add_argument("file", metavar="FILE", help=_FILE)
    measure.add_argument(
        "--length", type=numbers, metavar="N[,N...]", help="(default: what it was trained for)"
    )
    measure.add_argument("--dist", type=names, metavar="NAME[,...]", help="(default: all ten)")
    measure.add_argument(
        "--rankers", type=names, metavar="NAME[,...]", help="what it is compared with"
    )
    measure.add_argument(
        "--rows", type=positive, metavar="N", help="sequences of each distribution"
    )
    measure.add_argument("--picture", type=Path, metavar="FILE", help="draw the paper's picture")


_FILE = "a checkpoint of rankgrad or SoDeep, or the name of a shipped sorter"
_SHOW = "Print what a checkpoint is."
_EVAL = (
    "Measure the mean absolute error of the ranks over n on sequences of each distribution, "
    "beside the programmed sorter and other rankers."
)


def run(options: argparse.Namespace) -> int:
    """Show it, or measure it."""
    from rankgrad.sorters import CheckpointError

    verbs: dict[str, Callable[[argparse.Namespace], None]] = {"show": _show, "eval": _eval}
    try:
        verbs[options.verb](options)
    except (CheckpointError, OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    return 0


def _checkpoint(name: str) -> "Checkpoint":
    from rankgrad.sorters import Checkpoint, read_checkpoint
    from rankgrad.sorters.checkpoint import find_sorter

    return Checkpoint("exa", None, {}) if name == "exa" else read_checkpoint(find_sorter(name))


def _show(options: argparse.Namespace) -> None:
    found = _checkpoint(options.file)
    sorter = found.sorter()
    weights = sum(x.numel() for x in found.state.values())
    size = sum(x.numel() * x.element_size() for x in found.state.values())
    facts: dict[str, Any] = {
        "architecture": f"{found.architecture} ({type(sorter).__name__})",
        "length": "any" if sorter.any_length else found.length,
        "numbers": f"{weights:,} ({size / 1e3:,.1f} kB)",
        "written by": found.source,
    }
    for name, value in _flat(found.info):
        facts[name] = value
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name:<{width}}{value}")


def _flat(info: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(info, dict):
        return [(prefix, ", ".join(map(str, info)) if isinstance(info, list) else info)]
    return [line for k, v in info.items() for line in _flat(v, f"{prefix}.{k}" if prefix else k)]


def _eval(options: argparse.Namespace) -> None:
    require(["rich", "matplotlib"], "recipes", "measuring a sorter")
    from rankgrad.data.sequences import PUBLISHED, distribution
    from rankgrad.recipes.sorters.evaluation import RANKERS, evaluate, ranker_functions

    found = _checkpoint(options.file)
    sorter = found.sorter().requires_grad_(False)
    dists = options.dist or PUBLISHED
    for dist in dists:
        distribution(dist)
    lengths: Sequence[int] = options.length or (
        (10, 100, 1000) if found.architecture == "set" else (found.length or 100,)
    )
    for length in lengths:
        if length < 2:
            raise CommandError(f"--length must be at least 2, got {length}", 2)
        sorter.check_length(length)
    others = ranker_functions(options.rankers or RANKERS)
    console = make_console(140)
    for length in lengths:
        with console.status(f"measuring at length {length}"):
            rows = [evaluate(found.architecture, sorter, length, dists, rows=options.rows)]
            for name, ranks in others.items():
                rows.append(evaluate(name, ranks, length, dists, rows=options.rows))
        console.print(_table(rows))
    if options.picture:
        from rankgrad.recipes.sorters.picture import draw

        path = draw(sorter, lengths[0], options.picture, name=found.architecture)
        console.print(f"Picture: {path}", soft_wrap=True, markup=False)


def _table(rows: "Sequence[Measured]") -> Any:
    facts = [
        *([dist, *(f"{row.errors[dist]:.5f}" for row in rows)] for dist in rows[0].errors),
        [],
        ["mean", *(f"{row.error:.5f}" for row in rows)],
        ["Spearman with the true ranks", *(f"{row.correlation:.5f}" for row in rows)],
        ["ms forward and backward", *(f"{row.milliseconds:.2f}" for row in rows)],
        *(
            [f"gradient: {fact}", *(f"{row.gradient[fact]:.2f}" for row in rows)]
            for fact in rows[0].gradient
        ),
    ]
    title = f"Length {rows[0].length}: mean absolute error of ranks over n"
    return make_table(title, ["distribution", *(row.name for row in rows)], facts)
