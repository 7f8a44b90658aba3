"""Numbers of several digits from scikit-learn's handwritten ones, with skewed labels.

Each sample is some 8 x 8 digit images side by side; its label is the number that they show.
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

__all__ = ["DigitNumbers", "Split", "digit_images", "digit_numbers", "skewed_bell"]

LABELS = 100


class Split(NamedTuple):
    """Images and labels of one part of the data."""

    images: Float[Tensor, "n 1 8 width"]
    labels: Float[Tensor, " n"]


@dataclass(frozen=True)
class DigitNumbers:
    """The three splits and how many training samples each label has."""

    train: Split
    val: Split
    test: Split
    train_counts: Int64[Tensor, " labels"]


def skewed_bell(
    peak: int = 67,
    mode: float = 34.0,
    left: float = 10.5,
    right: float = 20.5,
    *,
    labels: int = LABELS,
) -> Tensor:
    """Return the number of training samples of each label: a bell with two widths.

    >>> counts = skewed_bell()
    >>> counts.max().item(), counts[0].item(), counts.sum().item()
    (67, 0, 2599)
    """
    x = torch.arange(labels, dtype=torch.float64) - mode
    width = torch.where(x < 0, left, right)
    return (peak * torch.exp(-0.5 * (x / width) ** 2)).round().long()


@cache
def digit_images() -> tuple[np.ndarray, np.ndarray]:
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


def digit_numbers(
    train_counts: Int64[Tensor, " labels"],
    seed: int = 0,
    *,
    val_per_label: int = 4,
    test_per_label: int = 10,
    fractions: tuple[float, float] = (0.6, 0.15),
) -> DigitNumbers:
    """Return the images of one seed.

    The source images of each digit are divided first, at random, into training, validation and
    test images; numbers are then drawn within a part. So no stroke of a test image was ever seen
    in training, not even beside another.

    Args:
        train_counts: ``[10^digits]`` training samples of each label, see :func:`skewed_bell`; its
            size says how many digits a number has.
        seed: Fixes the division and the numbers.
        val_per_label: Validation samples of each label.
        test_per_label: Test samples of each label.
        fractions: The parts of the source images that are for training and for validation.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: the number of labels is no power of ten.
    """
    n = len(train_counts)
    digits = len(str(n)) - 1
    if digits < 1 or n != 10**digits:
        raise ValueError(f"train_counts must have 10, 100 or 1000 ... labels, got {n}")
    images, shown = digit_images()
    rng = np.random.default_rng(seed)
    pools: list[list[np.ndarray]] = [[], [], []]
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(shown == digit))
        ends = np.cumsum([round(f * len(members)) for f in fractions])
        for pool, part in zip(pools, np.split(members, ends), strict=True):
            pool.append(part)
    even = np.ones(n, dtype=np.int64)
    wanted = (train_counts.numpy(), even * val_per_label, even * test_per_label)
    train, val, test = (
        _put_together(images, pool, counts, digits, rng)
        for pool, counts in zip(pools, wanted, strict=True)
    )
    return DigitNumbers(train, val, test, train_counts)


def _put_together(
    images: np.ndarray,
    pool: list[np.ndarray],
    counts: np.ndarray,
    digits: int,
    rng: np.random.Generator,
) -> Split:
    """Draw ``counts[label]`` images for each label from one part of the source images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    places = [10**place for place in reversed(range(digits))]
    drawn = [
        np.array([rng.choice(pool[label // place % 10]) for label in labels], dtype=np.int64)
        for place in places
    ]
    strips = np.concatenate([images[d] for d in drawn], axis=2)[:, None]
    return Split(torch.from_numpy(strips), torch.from_numpy(labels).float())
