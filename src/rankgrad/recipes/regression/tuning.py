"""Hyper-parameters chosen on validation, by the same budget for every method."""

from collections.abc import Sequence
from dataclasses import replace

from rankgrad.recipes.experiments import Display, RunStore, StoredRun, Study, run_study
from rankgrad.recipes.regression.method import RegressionMethod, Term
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.training import train

__all__ = ["candidates", "tune"]

# Factors of the learning rate, the weight decay and the weights of the terms. Every method gets
# the first so many of them; where there is no term, the last factor goes to the weight decay too.
_TRIALS = (
    (1.0, 1.0, 1.0),
    (0.3, 1.0, 1.0),
    (1.0, 1.0, 0.3),
    (1.0, 1.0, 3.0),
    (3.0, 1.0, 1.0),
    (0.3, 10.0, 0.3),
    (0.3, 10.0, 3.0),
    (1.0, 10.0, 1.0),
    (1.0, 0.1, 0.1),
    (0.3, 1.0, 10.0),
    (0.1, 1.0, 1.0),
    (3.0, 10.0, 3.0),
)
MAX_TRIALS = len(_TRIALS)


def candidates(
    method: RegressionMethod, settings: RegressionSettings, trials: int
) -> list[RegressionMethod]:
    """Return so many settings of a method; the first is the method as it is.

    Where a method has no term, trials that differ in its weight only try weight decays instead,
    so that no trial is spent twice (unless the weight decay is zero).

    Raises:
        ValueError: more trials than there are, or none.
    """
    if not 1 <= trials <= MAX_TRIALS:
        raise ValueError(f"trials must be from 1 to {MAX_TRIALS}, got {trials}")
    found = []
    for number, (rate, decay, weight) in enumerate(_TRIALS[:trials], start=1):
        if not method.terms:
            decay *= weight
        terms = tuple(_weighted(term, weight) for term in method.terms)
        found.append(
            replace(
                method,
                name=f"{method.name}, trial {number}",
                learning_rate=settings.learning_rate * rate,
                weight_decay=settings.weight_decay * decay,
                terms=terms,
            )
        )
    return found


def _weighted(term: Term, factor: float) -> Term:
    return Term(
        term.name,
        tuple((k, float(v) * factor if k == "weight" else v) for k, v in term.options),
    )


def tune(
    methods: Sequence[RegressionMethod],
    settings: RegressionSettings,
    trials: int,
    store: RunStore,
    display: Display,
    *,
    seed: int,
    workers: int,
) -> tuple[tuple[RegressionMethod, ...], list[StoredRun]]:
    """Return the methods, each at its best setting, and the runs that showed it.

    Best is the lowest label-balanced validation error of one run with ``seed``.
    """
    tried = {method.name: candidates(method, settings, trials) for method in methods}
    study = Study(
        "regression tuning",
        settings,
        tuple(candidate for row in tried.values() for candidate in row),
        (seed,),
        train,
    )
    runs = run_study(study, store, display, workers=workers)
    error = {run.method: run.metrics["val_mae_balanced"] for run in runs}
    best = [min(row, key=lambda candidate: error[candidate.name]) for row in tried.values()]
    named = zip(best, methods, strict=True)
    return tuple(replace(chosen, name=method.name) for chosen, method in named), runs
