"""``rankgrad rankers``: what each ranker makes of one list of scores."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.commands.errors import CommandError, require

if TYPE_CHECKING:
    from rankgrad.recipes.rankers import Curve

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "scores",
        nargs="*",
        metavar="SCORE",
        help="the scores, separated by spaces or commas (default: seven examples)",
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="read the scores from a text file, - is stdin"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only this ranker; may be repeated"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("runs", "rankers"),
        help="folder of report.html and ranks.csv (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Print a table of ranks and write the page."""
    require(["matplotlib", "jinja2"], "recipes", "the page of plots")
    from rankgrad.recipes.rankers import LEARNED, SWEEPS, plain_table, ranked, sweep, write_page

    every = (*SWEEPS, *LEARNED)
    names = dict.fromkeys(options.only or every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise CommandError(f"unknown ranker {unknown[0]!r}; there are {', '.join(every)}", 2)
    scores = _scores(options)
    curves = [sweep(scores, name) for name in names if name in SWEEPS]
    learned = {name: ranked(scores, name) for name in names if name in LEARNED}
    print(plain_table(scores, curves, learned))
    report = options.out / "report.html"
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        _write_numbers(options.out / "ranks.csv", scores, curves)
        write_page(report, scores, curves, learned)
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    print(f"\nReport: {report}")
    return 0


def _scores(options: argparse.Namespace) -> tuple[float, ...]:
    from rankgrad.recipes.rankers import EXAMPLE, ScoresError, parse_scores

    if options.scores and options.file:
        raise CommandError("give scores or --file, not both", 2)
    try:
        if options.file:
            text = sys.stdin.read() if str(options.file) == "-" else options.file.read_text("utf-8")
            return parse_scores(text)
        return parse_scores(" ".join(options.scores)) if options.scores else EXAMPLE
    except ScoresError as error:
        raise CommandError(str(error), 2) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the scores: {error}") from None


def _write_numbers(path: Path, scores: tuple[float, ...], curves: "list[Curve]") -> None:
    from rankgrad.recipes.experiments.store import write_csv

    rows: list[dict[str, Any]] = []
    for curve in curves:
        for i, softness in enumerate(curve.softness):
            for j, score in enumerate(scores):
                rows.append(
                    {
                        "ranker": curve.sweep.shorthand,
                        "setting": curve.sweep.setting,
                        "value": curve.sweep.value(float(softness)),
                        "item": j,
                        "score": score,
                        "rank": float(curve.swept.ranks[i, j]),
                        "gradient": -float(curve.swept.pull[i, j]),
                    }
                )
    write_csv(path, rows)
