"""Rank-N-Contrast against a loop over the partners with masks, and against its distances alone.

The loop takes one column of partners after the other, as the formula reads: a mask of what is
farther by label, a sum of exponentials, a logarithm. Labels are ages from 0 to 100.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import both_ways, normal
from rankgrad.losses import rank_n_contrast_loss

__all__ = ["rows"]

_FEATURES = 512
_TEMPERATURE = 2.0


def loop(features: Tensor, labels: Tensor) -> Tensor:
    """The mean loss, partner by partner."""
    n = len(labels)
    others = ~torch.eye(n, dtype=torch.bool)
    apart = (labels[:, None] - labels).abs()
    s = -torch.cdist(features, features) / _TEMPERATURE
    s = s - s[others].view(n, n - 1).amax(1, keepdim=True).detach()
    e = s.exp() * others
    total = features.new_zeros(())
    for j in range(n):
        negatives = (e * (apart >= apart[:, j, None])).sum(1)
        each = negatives.log() - s[:, j]
        total = total + each[others[:, j]].sum()
    return total / (n * (n - 1))


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    series = f"Rank-N-Contrast, {_FEATURES} features"
    for n in [16, 64] if bench.quick else [64, 256, 1024]:
        labels = torch.randint(100, (n,), generator=torch.Generator().manual_seed(0)).float()
        # Distances of some ten temperatures: no exponential of the loop leaves float32.
        features = normal(n, _FEATURES)
        distances = both_ways(lambda x: torch.cdist(x, x), features)
        others = {
            "a loop over the partners": Other(both_ways(partial(loop, labels=labels), features)),
            "torch.cdist of its features alone": Other(distances, alike=False),
        }
        ours = partial(rank_n_contrast_loss, labels=labels, temperature=_TEMPERATURE)
        yield from bench.contest(
            f"{series}, batch {n:,}", both_ways(ours, features), others, size=n, series=series
        )
