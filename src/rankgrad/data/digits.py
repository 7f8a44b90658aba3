"""Two-digit numbers from scikit-learn's handwritten digits, with a skewed label distribution.

Each sample is two 8 x 8 digit images side by side; its label is the number they show, 0 to 99.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["DigitPairs", "Split", "digit_pairs", "skewed_bell"]

LABELS = 100


class Split(NamedTuple):
    """Images and labels of one part of the data."""

    images: Float[Tensor, "n 1 8 16"]
    labels: Float[Tensor, " n"]


@dataclass(frozen=True)
class DigitPairs:
    """The three splits and how many training samples each label has."""

    train: Split
    val: Split
    test: Split
    train_counts: Int64[Tensor, " labels"]


def skewed_bell(
    peak: int = 67, mode: float = 34.0, left: float = 10.5, right: float = 20.5
) -> Tensor:
    """Return the number of training samples of each label: a bell with two widths.

    >>> counts = skewed_bell()
    >>> counts.max().item(), counts[0].item(), counts.sum().item()
    (67, 0, 2599)
    """
    x = torch.arange(LABELS, dtype=torch.float64) - mode
    width = torch.where(x < 0, left, right)
    return (peak * torch.exp(-0.5 * (x / width) ** 2)).round().long()


@cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 source images, scaled to 0..1, and the digit each shows."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn: pip install 'rankgrad[recipes]'", name="sklearn"
        )
    # The bare file: importing scikit-learn takes longer than a training run of the demonstration.
    table = Path(found.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if table.exists():
        rows = np.loadtxt(table, delimiter=",", dtype=np.float32)
        images, digits = rows[:, :-1], rows[:, -1].astype(np.int64)
    else:
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) / 16).astype(np.float32), digits


def digit_pairs(
    seed: int = 0,
    *,
    train_counts: Int64[Tensor, " labels"] | None = None,
    val_per_label: int = 4,
    test_per_label: int = 10,
    fractions: tuple[float, float] = (0.6, 0.15),
) -> DigitPairs:
    """Return the pairs of one seed.

    The source images of each digit are divided first, at random, into training, validation and
    test images; pairs are then drawn within a part. So no stroke of a test image was ever seen in
    training, not even on the other side of a pair.

    Args:
        seed: Fixes the division and the pairs.
        train_counts: ``[100]`` training samples of each label; by default :func:`skewed_bell`.
        val_per_label: Validation samples of each of the 100 labels.
        test_per_label: Test samples of each of the 100 labels.
        fractions: The parts of the source images that are for training and for validation.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    counts = skewed_bell() if train_counts is None else train_counts
    images, digits = _images()
    rng = np.random.default_rng(seed)
    pools: list[list[np.ndarray]] = [[], [], []]
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(digits == digit))
        ends = np.cumsum([round(f * len(members)) for f in fractions])
        for pool, part in zip(pools, np.split(members, ends), strict=True):
            pool.append(part)
    even = np.ones(LABELS, dtype=np.int64)
    wanted = (counts.numpy(), even * val_per_label, even * test_per_label)
    train, val, test = (
        _pair_up(images, pool, n, rng) for pool, n in zip(pools, wanted, strict=True)
    )
    return DigitPairs(train, val, test, counts)


def _pair_up(
    images: np.ndarray, pool: list[np.ndarray], counts: np.ndarray, rng: np.random.Generator
) -> Split:
    """Draw ``counts[label]`` pairs for each label from one part of the source images."""
    labels = np.repeat(np.arange(LABELS), counts)
    left = np.array([rng.choice(pool[label // 10]) for label in labels], dtype=np.int64)
    right = np.array([rng.choice(pool[label % 10]) for label in labels], dtype=np.int64)
    pairs = np.concatenate([images[left], images[right]], axis=2)[:, None]
    return Split(torch.from_numpy(pairs), torch.from_numpy(labels).float())
