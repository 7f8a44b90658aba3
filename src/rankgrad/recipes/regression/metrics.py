"""How good predicted numbers are, overall and where training labels are many, some or few."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["METRICS", "REGIONS", "Regions", "balanced_mae", "regression_metrics", "spearman"]

REGIONS = ("all", "many", "medium", "few")
METRICS = ("mae", "mse", "gm", "pearson", "spearman")


@dataclass(frozen=True)
class Regions:
    """Label regions by the number of training samples a label has.

    ``many`` has more than ``many_above``, ``few`` has less than ``few_below``, ``medium`` lies
    between, both ends included.
    """

    many_above: int = 30
    few_below: int = 8

    def split(self, counts: Int[np.ndarray, " n"]) -> dict[str, Bool[np.ndarray, " n"]]:
        """Say for each count which region it belongs to; ``all`` holds every one."""
        many, few = counts > self.many_above, counts < self.few_below
        return {
            "all": np.ones_like(many),
            "many": many,
            "medium": ~many & ~few,
            "few": few,
        }

    def names(self, counts: Int[np.ndarray, " n"]) -> tuple[str, ...]:
        """Say for each count which of the three regions it belongs to.

        >>> Regions(many_above=30, few_below=8).names(np.array([31, 8, 7]))
        ('many', 'medium', 'few')
        """
        members = self.split(counts)
        return tuple(next(r for r in REGIONS[1:] if members[r][i]) for i in range(len(counts)))


def regression_metrics(
    predictions: Float[np.ndarray, " n"],
    targets: Float[np.ndarray, " n"],
    regions: dict[str, Bool[np.ndarray, " n"]],
) -> tuple[dict[str, float], list[str]]:
    """Return the metrics in every region, and notes on those that could not be computed.

    With ``e = |prediction - target|``: ``mae`` is the mean of ``e``, ``mse`` of ``e^2``, ``gm`` the
    geometric mean of ``e`` (zero as soon as one prediction is exact), ``pearson`` and ``spearman``
    the correlations, the latter with average ranks for ties. The keys are ``mae_all``,
    ``mae_many`` and so on. What an empty region or constant values leave open is NaN.

    >>> everything = {"all": np.array([True, True, True])}
    >>> metrics, notes = regression_metrics(
    ...     np.array([1.0, 2.0, 5.0]), np.array([0.0, 2.5, 4.0]), everything
    ... )
    >>> round(metrics["mae_all"], 3), round(metrics["gm_all"], 3), metrics["spearman_all"]
    (0.833, 0.794, 1.0)
    """
    metrics: dict[str, float] = {}
    notes: list[str] = []
    for region, members in regions.items():
        p, t = predictions[members].astype(np.float64), targets[members].astype(np.float64)
        if len(p) == 0:
            notes.append(f"no sample in the region '{region}': its metrics are NaN")
            values = dict.fromkeys(METRICS, math.nan)
        else:
            error = np.abs(p - t)
            values = {
                "mae": float(error.mean()),
                "mse": float((error**2).mean()),
                "gm": _geometric_mean(error),
                "pearson": _correlation(p, t),
                "spearman": spearman(p, t),
            }
            if math.isnan(values["pearson"]):
                notes.append(f"constant or too few values in the region '{region}': no correlation")
        metrics |= {f"{name}_{region}": value for name, value in values.items()}
    return metrics, notes


def balanced_mae(
    predictions: Float[np.ndarray, " n"],
    targets: Float[np.ndarray, " n"],
    bins: Int[np.ndarray, " n"],
) -> float:
    """Return the mean over label bins of the mean absolute error in each; NaN without samples.

    On a set that is balanced over the bins this is the MAE; on any other it counts a rare label
    as much as a frequent one.

    >>> balanced_mae(np.array([1.0, 1.0, 5.0]), np.array([0.0, 0.0, 9.0]), np.array([0, 0, 9]))
    2.5
    """
    if len(targets) == 0:
        return math.nan
    error = np.abs(predictions.astype(np.float64) - targets)
    counts = np.bincount(bins)
    sums = np.bincount(bins, weights=error)
    there = counts > 0
    return float((sums[there] / counts[there]).mean())


def _geometric_mean(error: np.ndarray) -> float:
    if np.isnan(error).any():
        return math.nan
    return float(np.exp(np.log(error).mean())) if (error > 0).all() else 0.0


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's correlation with average ranks for ties.

    NaN where one side is constant or holds a NaN.
    """
    if np.isnan(a).any() or np.isnan(b).any():
        return math.nan
    return _correlation(_average_ranks(a), _average_ranks(b))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation, NaN where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else math.nan


def _average_ranks(x: np.ndarray) -> np.ndarray:
    """Ascending ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last: np.ndarray = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return ranks
