"""How good predicted ages are."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from rankgrad.metrics import spearman

__all__ = ["GAPS", "METRICS", "SEXES", "age_metrics", "all_pairs", "by_sex", "discordant"]

METRICS = ("MAE", "RMSE", "Pearson", "Spearman")
SEXES = ("female", "male")
GAPS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, math.inf)
"""Bounds, in years, between which age differences are counted together."""


def age_metrics(predictions: np.ndarray, ages: np.ndarray) -> dict[str, float]:
    """Return MAE and RMSE in years, and Pearson's and Spearman's correlation.

    Correlations of fewer than two scans, or of constant values, are NaN. Scans without a
    prediction (NaN) are left out.

    >>> found = age_metrics(np.array([50.0, 62.0, 71.0]), np.array([52.0, 60.0, 70.0]))
    >>> round(found["MAE"], 3), round(found["Spearman"], 3)
    (1.667, 1.0)
    """
    known = ~np.isnan(predictions)
    p, y = predictions[known].astype(np.float64), ages[known].astype(np.float64)
    if len(p) == 0:
        return dict.fromkeys(METRICS, math.nan)
    error = p - y
    varied = len(p) > 1 and np.ptp(p) > 0 and np.ptp(y) > 0
    order = spearman(torch.from_numpy(p), torch.from_numpy(y)).item() if varied else math.nan
    return {
        "MAE": float(np.abs(error).mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "Pearson": float(np.corrcoef(p, y)[0, 1]) if varied else math.nan,
        "Spearman": order,
    }


def by_sex(
    predictions: np.ndarray, ages: np.ndarray, sexes: Sequence[int | None]
) -> dict[str, tuple[int, dict[str, float]]]:
    """Return the number of scans and the metrics of all, and of each sex that occurs."""
    groups = {"all": np.ones(len(ages), dtype=bool)}
    for value, name in enumerate(SEXES):
        groups[name] = np.array([sex == value for sex in sexes], dtype=bool)
    return {
        name: (int(chosen.sum()), age_metrics(predictions[chosen], ages[chosen]))
        for name, chosen in groups.items()
        if chosen.any()
    }


def discordant(predictions: np.ndarray, ages: np.ndarray) -> list[tuple[str, int, float]]:
    """Return the share of pairs in the wrong order, by how far apart their ages are.

    A pair whose predictions are equal is half wrong; pairs of equal age have no order. Each entry
    is the stretch of age differences, the number of pairs and the share (NaN without a pair).

    >>> discordant(np.array([50.0, 49.0, 70.0]), np.array([50.0, 50.5, 80.0]))[0]
    ('0–1', 1, 1.0)
    """
    a, b = np.triu_indices(len(ages), 1)
    years = ages[a] - ages[b]
    wrong = 0.5 - 0.5 * np.sign(years) * np.sign(predictions[a] - predictions[b])
    found = []
    for low, high in pairwise(GAPS):
        chosen = (np.abs(years) > low) & (np.abs(years) <= high)
        name = f"over {low:g}" if math.isinf(high) else f"{low:g}–{high:g}"
        share = float(wrong[chosen].mean()) if chosen.any() else math.nan
        found.append((name, int(chosen.sum()), share))
    return found


def all_pairs(entries: Sequence[tuple[str, int, float]]) -> tuple[int, float]:
    """Return how many pairs there are and the share in the wrong order, whatever their ages.

    >>> all_pairs([("0–1", 3, 1.0), ("1–2", 1, 0.0), ("2–5", 0, math.nan)])
    (4, 0.75)
    """
    pairs = sum(n for _, n, _ in entries)
    wrong = sum(n * share for _, n, share in entries if n)
    return pairs, wrong / pairs if pairs else math.nan
