"""SoDeep's handcrafted ranker against its n x n formula: time and peak memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.rankers import Pairwise

__all__ = ["rows"]

_N = 10_000
_WORK = 'Pairwise(steepness="auto")'


def dense(scores: Tensor) -> Tensor:
    """The formula: logistic comparisons of all pairs, their steepness from the upper triangle."""
    gaps = scores[None, :] - scores[:, None]
    steepness = 6.8 / gaps.detach().triu(1).std()
    return torch.sigmoid(gaps * steepness).sum(1) + 0.5


def ours_step(small: bool) -> Callable[[], Outcome]:
    """Return our forward and backward at the size of the table."""
    return both_ways(Pairwise(steepness="auto"), normal(100 if small else _N))


def dense_step(small: bool) -> Callable[[], Outcome]:
    """Return those of the formula."""
    return both_ways(dense, normal(100 if small else _N))


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    ours, formula = Pairwise(steepness="auto"), "the n x n formula"
    for n in [100, 400] if bench.quick else [100, 1_000, _N, 100_000, 1_000_000]:
        scores = normal(n)
        limit = 1 / 20 if n == _N else None
        others = {
            formula: Other(both_ways(dense, scores), limit, needs=16.0 * n * n),
            **yardsticks(scores),
        }
        yield from bench.contest(
            f"{_WORK}, n = {n:,}", both_ways(ours, scores), others, size=n, series=_WORK
        )
    home = "rankgrad.bench.suites.exact_ranker"
    yield from bench.memory(
        f"{_WORK}, n = {_N:,}", formula, f"{home}:ours_step", f"{home}:dense_step", 1 / 100
    )
