"""How far a difference between two methods could be chance: resampled seeds and samples."""

from collections.abc import Sequence

import numpy as np

from rankgrad.recipes.experiments.store import StoredRun

__all__ = ["balanced_difference"]


def balanced_difference(
    runs: Sequence[StoredRun],
    method: str,
    baseline: str,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the difference in label-balanced test MAE and a bootstrap interval around it.

    Each replicate draws seeds with replacement, and in each of them test samples with replacement
    within their label bin, the same for both methods. With few seeds the interval is too narrow:
    five of them show little of how much seeds differ.

    Args:
        runs: of both methods.
        method: the method.
        baseline: what it is compared with.
        replicates: how many draws.
        level: the share of the draws that the interval holds.
        seed: of the draws.

    Returns:
        The mean difference over the common seeds, method minus baseline, and both ends; NaN where
        they have no seed in common.
    """
    of = {(run.method, run.seed): run for run in runs}
    seeds = [s for name, s in of if name == method and (baseline, s) in of]
    if not seeds:
        return (float("nan"),) * 3
    rng = np.random.default_rng(seed)
    means, drawn = [], []
    for s in seeds:
        gains, starts, sizes = _contributions(of[method, s], of[baseline, s])
        means.append(gains.sum())
        drawn.append(_resampled(gains, starts, sizes, replicates, rng))
    table = np.stack(drawn)
    picked = rng.integers(len(seeds), size=(len(seeds), replicates))
    estimates = table[picked, np.arange(replicates)].mean(axis=0)
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean(means)), float(low), float(high)


def _contributions(a: StoredRun, b: StoredRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each test sample, in order of bins, adds to the difference; where bins start."""
    first, second = a.arrays(), b.arrays()
    bins, targets = first["bins"], first["targets"].astype(np.float64)
    order = np.argsort(bins, kind="stable")
    _, starts, counts = np.unique(bins[order], return_index=True, return_counts=True)
    error = np.abs(first["predictions"] - targets) - np.abs(second["predictions"] - targets)
    share = np.repeat(1 / (counts * len(counts)), counts)
    return error[order] * share, np.repeat(starts, counts), np.repeat(counts, counts)


def _resampled(
    gains: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    replicates: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Sums over samples drawn anew within their bins, a part of the replicates at a time."""
    sums = []
    step = max(1, 2_000_000 // len(gains))
    for done in range(0, replicates, step):
        u = rng.random((min(step, replicates - done), len(gains)))
        sums.append(gains[starts + (u * sizes).astype(np.int64)].sum(axis=1))
    return np.concatenate(sums)
