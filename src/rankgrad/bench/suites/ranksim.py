"""The RankSim term against loops over its rows with the same mathematics.

Two loops: one takes row i of the similarity matrix as ``similarity[i]``, whose backward step fills
a matrix of zeros for every row; the other unbinds the rows first and is spared that. All labels
are different. From 2,048 samples on the loops do some rows, and the figure is what all would take.
Gradients are differences of hard ranks: a similarity that rounds otherwise may move one by a place.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import both_ways, normal
from rankgrad.losses import rank_sim_loss

__all__ = ["rows"]

_FEATURES = 512
_STRENGTH = 2.0
_MANY = 2048
_SOME = (16, 48)  # rows from which the time of all rows is told
_LOOP = "a loop over the rows"
_LOOPS = {_LOOP: False, "the loop with unbound rows": True}
_LIMITS = {256: 1 / 10, 1024: 1 / 10, 4096: 1 / 40}


def ranks(x: Tensor) -> Tensor:
    """Hard ranks of a vector over its length, rank 1 = largest."""
    order = torch.argsort(x, descending=True)
    places = torch.arange(1, len(x) + 1, dtype=x.dtype) / len(x)
    return torch.empty_like(x).scatter_(0, order, places)


class BlackboxRank(torch.autograd.Function):
    """Ranks whose gradient is one perturbed re-ranking."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        now = ranks(x)
        ctx.save_for_backward(x, now)
        return now

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, now = ctx.saved_tensors
        slope: Tensor = (ranks(x + _STRENGTH * grad) - now) / _STRENGTH
        return slope


def loop(features: Tensor, labels: Tensor, unbind: bool, some: int | None = None) -> Tensor:
    """The term as a loop, over all rows or the first ``some``."""
    units = F.normalize(features)
    similarity = units @ units.T
    of: Sequence[Tensor] | Tensor = similarity.unbind(0) if unbind else similarity
    total = features.new_zeros(())
    for i in range(len(labels) if some is None else some):
        wanted = ranks(-(labels - labels[i]).abs())
        total = total + F.mse_loss(BlackboxRank.apply(of[i]), wanted)
    return total


def _extrapolated(features: Tensor, labels: Tensor, unbind: bool) -> float:
    """Return the milliseconds of a loop over all rows, from those over some."""
    taken = []
    for some in _SOME:
        run = both_ways(partial(loop, labels=labels, unbind=unbind, some=some), features)
        begin = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - begin))
    a_row = (taken[1] - taken[0]) / (_SOME[1] - _SOME[0])
    return taken[0] + a_row * (len(labels) - _SOME[0])


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    series = f"RankSim, {_FEATURES} features"
    for n in [16, 64] if bench.quick else [64, 256, 1024, 4096]:
        generator = torch.Generator().manual_seed(0)
        labels = torch.randperm(n, generator=generator).float() ** 1.5
        features, similarity = normal(n, _FEATURES), normal(n, n)
        work, limit = f"{series}, batch {n:,}", _LIMITS.get(n)
        others = {"one torch.sort of its matrix": Other(partial(torch.sort, similarity))}
        if n < _MANY:
            for name, unbind in _LOOPS.items():
                run = both_ways(partial(loop, labels=labels, unbind=unbind), features)
                others[name] = Other(run, limit if name == _LOOP else None)
        ours = both_ways(partial(rank_sim_loss, labels=labels, strength=_STRENGTH), features)
        mine = 0.0
        for row in bench.contest(work, ours, others, size=n, series=series, seconds=3.0):
            mine = row.ours
            yield row
        if n >= _MANY:
            for name, unbind in _LOOPS.items():
                theirs = _extrapolated(features, labels, unbind)
                yield Row(
                    work, name, mine, theirs, "ms", mine / theirs,
                    limit if name == _LOOP else None, n, series,
                    note=f"from {_SOME[0]} and {_SOME[1]} of {n:,} rows",
                )  # fmt: skip
