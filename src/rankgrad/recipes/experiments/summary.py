"""Over seeds: mean and spread of a metric, and differences between two methods seed by seed."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from rankgrad.recipes.experiments.store import StoredRun

__all__ = ["Paired", "Spread", "paired", "spread"]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; the latter is NaN for one seed."""

    mean: float
    std: float
    n: int

    def text(self, digits: int) -> str:
        """As in a table: ``8.21 ± 0.34``, a dash where nothing could be measured."""
        if math.isnan(self.mean):
            return "–"
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.std) else f"{mean} ± {self.std:.{digits}f}"


def spread(runs: Iterable[StoredRun], method: str, metric: str) -> Spread:
    """Return the spread of one metric over the seeds of one method."""
    values = [run.metrics[metric] for run in runs if run.method == method]
    if not values or any(math.isnan(v) for v in values):
        return Spread(math.nan, math.nan, len(values))
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class Paired:
    """One method minus another in one metric, on the seeds that both have."""

    method: str
    baseline: str
    metric: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    baseline_mean: float

    @property
    def mean(self) -> float:
        """The mean difference."""
        return statistics.fmean(self.differences) if self.differences else math.nan

    @property
    def relative(self) -> float:
        """The mean difference as a fraction of the baseline's mean."""
        return self.mean / self.baseline_mean if self.baseline_mean else math.nan

    def better(self, *, lower_is_better: bool = True) -> int:
        """On how many seeds the method beats the baseline; equal is not better."""
        return sum((d < 0) if lower_is_better else (d > 0) for d in self.differences)


def paired(runs: Iterable[StoredRun], method: str, baseline: str, metric: str) -> Paired:
    """Compare two methods seed by seed."""
    values = {(run.method, run.seed): run.metrics[metric] for run in runs}
    seeds = tuple(seed for name, seed in values if name == method and (baseline, seed) in values)
    base = [values[baseline, seed] for seed in seeds]
    differences = tuple(values[method, seed] - b for seed, b in zip(seeds, base, strict=True))
    mean = statistics.fmean(base) if base else math.nan
    return Paired(method, baseline, metric, seeds, differences, mean)
