"""``rankgrad compare regression``: methods for rare labels, seed by seed, on data of yours."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.commands._regression import (
    add_data_options,
    add_training_options,
    load,
    settings_from,
)
from rankgrad.commands._study import run_stored
from rankgrad.commands._terminal import make_console, make_table
from rankgrad.commands.errors import CommandError, require
from rankgrad.commands.options import add_study_options, command_line, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.experiments import StoredRun, Study
    from rankgrad.recipes.regression.method import RegressionMethod
    from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--methods",
        metavar="A,B",
        help="methods by name, or all (default: L1,MSE,LDS,LDS + RankSim,LDS + RnC)",
    )
    add(
        "--method",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a method of yours, e.g. 'Mine=l1 lds ranksim:weight=0.3'; may be repeated",
    )
    add("--list", action="store_true", help="list the methods by name and stop")
    add("--seeds", type=positive, metavar="N", default=5, help="seeds a method (default: 5)")
    add("--first-seed", type=int, metavar="N", default=0, help="(default: 0); others confirm")
    add(
        "--tune",
        type=positive,
        metavar="N",
        help="choose rates and weights on validation, N trials for every method",
    )
    add_study_options(parser, "runs/compare/DATA")
    add_data_options(parser)
    add_training_options(parser)


def run(options: argparse.Namespace) -> int:
    """Train what is missing, print the tables and write the page."""
    require(["rich", "sklearn", "matplotlib", "jinja2"], "recipes", "comparing methods")
    if options.list:
        return _list()
    methods = _methods(options)
    settings = settings_from(options)
    console = make_console(140)
    _, lines = load(settings, options.first_seed, console)
    folder: Path = options.out or Path("runs", "compare", Path(settings.data.source).stem)
    for line in [f"{len(methods)} methods, {options.seeds} seeds; results in {folder}", *lines]:
        console.print(line, markup=False, soft_wrap=True)
    _check(methods, settings, options.first_seed)
    study, runs, tuned = _run(options, methods, settings, folder, console)
    report = _report(study, runs, folder, lines, tuned)
    _print_results(console, study, runs)
    console.print(f"\nReport: {report}", soft_wrap=True, markup=False)
    return 0


def _list() -> int:
    from rankgrad.recipes.regression.methods import METHODS

    for name, text in METHODS.items():
        print(f"{name:<18} {text}")
    return 0


def _methods(options: argparse.Namespace) -> "tuple[RegressionMethod, ...]":
    from rankgrad.recipes.regression.method import MethodError
    from rankgrad.recipes.regression.methods import DEFAULT_METHODS, METHODS, chosen

    if options.methods is None:
        names: Sequence[str] = DEFAULT_METHODS
    elif options.methods.strip().lower() == "all":
        names = tuple(METHODS)
    else:
        names = [name for name in options.methods.split(",") if name.strip()]
    try:
        methods = chosen(names, options.method)
    except MethodError as error:
        raise CommandError(str(error), 2) from None
    if not methods:
        raise CommandError("no method is left to compare", 2)
    return methods


def _check(
    methods: "Sequence[RegressionMethod]", settings: "RegressionSettings", seed: int
) -> None:
    """Refuse before the first run what every run would refuse."""
    from rankgrad.recipes.regression.loading import load_data
    from rankgrad.recipes.regression.method import MethodError
    from rankgrad.recipes.regression.models import build_regressor
    from rankgrad.recipes.regression.objective import Objective
    from rankgrad.recipes.regression.regressor import ModelError
    from rankgrad.recipes.regression.stages import stages

    data = load_data(settings.data, seed)
    try:
        for method in methods:
            for stage in stages(method, settings.epochs):
                Objective(method, data, stage)
        build_regressor(settings.model, data, methods[0], settings.head)
    except (MethodError, ModelError) as error:
        raise CommandError(str(error), 2) from None


def _run(
    options: argparse.Namespace,
    methods: "tuple[RegressionMethod, ...]",
    settings: "RegressionSettings",
    folder: Path,
    console: "Console",
) -> "tuple[Study, list[StoredRun], list[StoredRun]]":
    from rankgrad.recipes.experiments import RunStore, Study
    from rankgrad.recipes.regression.training import train
    from rankgrad.recipes.regression.tuning import chosen_settings, tuning_study

    tuned: list[StoredRun] = []
    if options.tune:
        with _refusals():
            trials = tuning_study(methods, settings, options.tune, options.first_seed)
        console.print(f"{options.tune} trials for every method, by validation error")
        store = RunStore(folder / "tuning")
        tuned = run_stored(options, trials, store, console, _headline("validation", "val_mae"))
        methods = chosen_settings(methods, trials, tuned)
    seeds = tuple(range(options.first_seed, options.first_seed + options.seeds))
    with _refusals():
        study = Study("regression", settings, methods, seeds, train)
    runs = run_stored(options, study, RunStore(folder), console, _headline("test", "mae"))
    return study, runs, tuned


def _headline(part: str, metric: str) -> Callable[[dict[str, float]], str]:
    return lambda metrics: f"balanced {part} MAE {metrics[f'{metric}_balanced']:.4g}"


@contextmanager
def _refusals() -> Iterator[None]:
    """Settings that no run can have."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error), 2) from None


def _report(
    study: "Study",
    runs: "Sequence[StoredRun]",
    folder: Path,
    lines: Sequence[str],
    tuned: "Sequence[StoredRun]",
) -> Path:
    from rankgrad.recipes.regression.comparison import write_comparison
    from rankgrad.recipes.regression.loading import load_data, regions_of

    settings = study.settings.data
    _, regions = regions_of(load_data(settings, study.seeds[0]), settings)
    return write_comparison(
        study,
        runs,
        folder,
        regions=regions,
        overview=lines,
        tuned=tuned,
        command=command_line("compare", "regression"),
    )


def _print_results(console: "Console", study: "Study", runs: "Sequence[StoredRun]") -> None:
    from rankgrad.recipes.regression.contrasts import against, comparison_columns, verdicts
    from rankgrad.recipes.regression.summary import summary_rows

    methods = [method.name for method in study.methods]
    n = len(study.seeds)
    columns = comparison_columns(runs)
    title = f"Test set, {'one seed' if n == 1 else f'{n} seeds: mean ± standard deviation'}"

    console.print()
    headings = ["method", *(heading for _, heading, _, _ in columns)]
    console.print(make_table(title, headings, summary_rows(runs, methods, columns)))
    rows = against(runs, methods)
    if rows:
        differences = make_table(
            "Balanced test MAE, seed by seed",
            ["", "difference", "95 % interval", "relative", "better on"],
            [[f"{r.pair.method} - {r.pair.baseline}", *r.cells] for r in rows],
        )
        console.print(differences)
    for sentence in verdicts(rows):
        console.print(sentence, markup=False)
