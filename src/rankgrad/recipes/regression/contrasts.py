"""Every method beside the baselines: differences seed by seed, and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.summary import Paired, paired
from rankgrad.recipes.regression.bootstrap import balanced_difference
from rankgrad.recipes.regression.summary import BALANCED_COLUMNS, Columns

__all__ = ["BASELINES", "METRIC", "Against", "against", "comparison_columns", "verdicts"]

BASELINES = ("MSE", "LDS")
METRIC = "mae_balanced"


@dataclass(frozen=True)
class Against:
    """One method beside one baseline."""

    pair: Paired
    low: float
    high: float

    @property
    def cells(self) -> list[str]:
        """Difference, interval, relative change and on how many seeds it is better."""
        digits = 3 if abs(self.pair.baseline_mean) < 2 else 2
        n = len(self.pair.seeds)
        return [
            f"{self.pair.mean:+.{digits}f}",
            f"{self.low:+.{digits}f} to {self.high:+.{digits}f}",
            f"{self.pair.relative:+.1%}",
            f"{self.pair.better()} of {n}",
        ]


def against(
    runs: Sequence[StoredRun], methods: Sequence[str], baselines: Sequence[str] = BASELINES
) -> list[Against]:
    """Compare every method with every baseline in balanced test MAE.

    Where none of the baselines was run, the first method is the baseline.
    """
    there = [b for b in baselines if b in methods] or list(methods[:1])
    rows = []
    for baseline in there:
        for method in methods:
            if method == baseline:
                continue
            _, low, high = balanced_difference(runs, method, baseline)
            rows.append(Against(paired(runs, method, baseline, METRIC), low, high))
    return rows


def verdicts(rows: Sequence[Against]) -> list[str]:
    """Say in sentences who is better on every seed, and by how much; and that nobody is."""
    sentences = []
    for baseline in dict.fromkeys(row.pair.baseline for row in rows):
        mine = [row for row in rows if row.pair.baseline == baseline]
        clear = [
            row
            for row in mine
            if row.pair.seeds and row.pair.better() == len(row.pair.seeds) and row.high < 0
        ]
        listed = ", ".join(
            f"{row.pair.method} ({row.pair.relative:+.1%})"
            for row in sorted(clear, key=lambda row: row.pair.mean)
        ).replace("(-", "(−")
        sentences.append(
            f"Better than {baseline} in balanced MAE on every seed, with an interval below zero: "
            f"{listed or 'none'}."
        )
    return sentences


def comparison_columns(runs: Sequence[StoredRun]) -> Columns:
    """Return the columns of the table, errors with as many decimals as their size asks for."""
    largest = max((run.metrics[METRIC] for run in runs), default=0.0)
    decimals = 3 if largest < 2 else 2 if largest < 100 else 0
    return tuple(
        (metric, heading, decimals if lower else digits, lower)
        for metric, heading, digits, lower in BALANCED_COLUMNS
    )
