"""Splits: drawn by subject, and no subject in two of them."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rankgrad.data.nifti.problems import DataError
from rankgrad.data.nifti.scan import Scan
from rankgrad.data.nifti.table import SPLITS

__all__ = ["draw_splits", "refuse_leaks"]


def draw_splits(
    scans: Sequence[Scan], seed: int, fractions: tuple[float, float, float]
) -> list[str]:
    """Draw a split for every subject, so that each split has old and young in the same shares."""
    shares = np.array(fractions, dtype=float)
    if shares.min() < 0 or not math.isclose(shares.sum(), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions must be three shares that sum to 1, got {fractions}")
    ages: dict[str, list[float]] = defaultdict(list)
    for scan in scans:
        ages[scan.subject].append(scan.age)
    rng = np.random.default_rng(seed)
    order = sorted(ages, key=lambda subject: (float(np.mean(ages[subject])), subject))
    block = 14  # of like age, shuffled: two or more of the smallest usual share
    split_of: dict[str, str] = {}
    counts = np.zeros(3)
    for start in range(0, len(order), block):
        for subject in rng.permutation(order[start : start + block]).tolist():
            # To the split that lags most behind its share.
            chosen = int(np.argmax(shares * (len(split_of) + 1) - counts))
            counts[chosen] += 1
            split_of[subject] = SPLITS[chosen]
    return [split_of[scan.subject] for scan in scans]


def refuse_leaks(scans: Sequence[Scan]) -> None:
    """Refuse a subject that is in two splits.

    Raises:
        DataError: there is one; it is named.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for scan in scans:
        splits[scan.subject].add(scan.split)
    leaking = [
        f"{subject} ({', '.join(s for s in SPLITS if s in found)})"
        for subject, found in splits.items()
        if len(found) > 1
    ]
    if leaking:
        more = f" and {len(leaking) - 5} more" if len(leaking) > 5 else ""
        raise DataError(
            "a subject must be in one split only, or the scores are no measure of new subjects; "
            f"in several are: {', '.join(leaking[:5])}{more}"
        )
