"""Hyper-parameters chosen on validation, by the same budget for every method."""

from collections.abc import Sequence
from dataclasses import replace

from rankgrad.recipes.experiments import StoredRun, Study
from rankgrad.recipes.regression.method import RegressionMethod, Term
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.training import train

__all__ = ["candidates", "chosen_settings", "tuning_study"]

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


def tuning_study(
    methods: Sequence[RegressionMethod], settings: RegressionSettings, trials: int, seed: int
) -> Study:
    """Return the study that tries so many settings of every method, with one seed.

    Raises:
        ValueError: see :func:`candidates`.
    """
    tried = [candidate for m in methods for candidate in candidates(m, settings, trials)]
    return Study("regression tuning", settings, tuple(tried), (seed,), train)


def chosen_settings(
    methods: Sequence[RegressionMethod], study: Study, runs: Sequence[StoredRun]
) -> tuple[RegressionMethod, ...]:
    """Return the methods, each at the setting with the lowest label-balanced validation error."""
    error = {run.method: run.metrics["val_mae_balanced"] for run in runs}
    trials = len(study.methods) // len(methods)
    rows = (study.methods[i * trials : (i + 1) * trials] for i in range(len(methods)))
    best = [min(row, key=lambda candidate: error[candidate.name]) for row in rows]
    return tuple(replace(b, name=m.name) for b, m in zip(best, methods, strict=True))
