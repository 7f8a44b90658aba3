"""The pairwise squared hinge loss of AUC, by weighted sums of steps, against libauc.

A pair of a positive ``p`` and a negative ``q`` with a gap ``g = (m - p) + q > 0`` adds ``g^2``. The
sum of its gaps is what a score is pushed by, half its gradient: sums of steps at ``q - (p - m)``,
with the weights 1 and ``q`` for a positive, 1 and ``m - p`` for a negative. And every ``g^2`` is
``(m - p) g + q g``, so that these sums give the loss as well: the same number, without the P x N
matrix.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from rankgrad.bench import peers
from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.comparisons import Step
from rankgrad.pairwise import pairwise_sum

__all__ = ["rows"]

_SHARE = 10  # one in ten is positive


def squared_hinge_auc(scores: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """The mean of ``max(0, margin - p + q)^2`` over positives ``p`` and negatives ``q``."""
    short, q = margin - scores[labels == 1], scores[labels == 0]
    with torch.no_grad():
        push = _gaps(short, q), _gaps(q, short)
    half = (short.dot(push[0]) + q.dot(push[1])) / (short.numel() * q.numel())
    return 2 * half - half.detach()  # the pushes depend on the scores: half of the gradient


def _gaps(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the positive ``x_i + y_j`` over ``j``."""
    queries, keys = -x.expand(2, -1), y.expand(2, -1)
    count, total = pairwise_sum(
        queries, keys, torch.stack((torch.ones_like(y), y)), comparison=Step()
    )
    gaps: Tensor = count * x + total
    return gaps


def dense(scores: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """The same by all pairs."""
    gaps = margin - scores[labels == 1][:, None] + scores[labels == 0][None, :]
    return gaps.clamp(min=0).square().mean()


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    series = f"AUC, squared hinge, one in {_SHARE} positive"
    libauc = peers.load("libauc")
    for n in [100, 1_000] if bench.quick else [1_000, 10_000, 100_000, 1_000_000]:
        labels = (torch.arange(n) % _SHARE == 0).long()
        scores = normal(n)
        needs = 20.0 * n * n / _SHARE
        by_pairs = both_ways(lambda x, y=labels: dense(x, y), scores)
        others = {"all pairs": Other(by_pairs, needs=needs)}
        if libauc:
            theirs = libauc.PairwiseAUCLoss("squared_hinge", 1.0)
            others["libauc"] = Other(
                both_ways(lambda x, f=theirs, y=labels: f(x, y), scores), needs=2 * needs
            )
        others |= yardsticks(scores)
        yield from bench.contest(
            f"{series}, n = {n:,}",
            both_ways(lambda x, y=labels: squared_hinge_auc(x, y), scores),
            others, size=n, series=series,
        )  # fmt: skip
