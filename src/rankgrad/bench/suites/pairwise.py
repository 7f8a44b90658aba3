"""Weighted sums of comparisons over all pairs of scores, against one sort and the formula."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.comparisons import Cauchy, Comparison, Laplace, Logistic, Normal, Ramp, Step
from rankgrad.pairwise import pairwise_sum
from rankgrad.rankers import Pairwise

__all__ = ["rows"]

_SHORT = [(1, 10), (1, 100), (8, 50), (32, 100)]
_LIMITS = {"ramp": 3.0, "laplace": 4.0}


def _scores(n: int) -> tuple[Tensor, Tensor]:
    """Return queries and keys, none equal: autograd has no slope for the formulas' kink there."""
    queries, keys = normal(2, n).view(torch.int32)
    return (queries & ~1).view(torch.float32), (keys | 1).view(torch.float32)


def _ours(n: int, comparison: Comparison) -> Callable[[], Outcome]:
    queries, keys = _scores(n)
    return both_ways(lambda q, k: pairwise_sum(q, k, comparison=comparison), queries, keys)


def _dense(n: int, comparison: Comparison) -> Callable[[], Outcome]:
    def formula(queries: Tensor, keys: Tensor) -> Tensor:
        return comparison.value(keys[None, :] - queries[:, None]).sum(1)

    queries, keys = _scores(n)
    return both_ways(formula, queries, keys)


def ramp_step(small: bool) -> Callable[[], Outcome]:
    """Return forward and backward over a million queries and keys."""
    return _ours(1_000 if small else 1_000_000, Ramp(0.1))


def _ranks(bench: Bench, comparison: Comparison, scores: Tensor) -> Iterator[Row]:
    """Short rows: all pairs, which the formula builds and ours does not."""

    def formula(x: Tensor) -> Tensor:
        return comparison.value(x.unsqueeze(-2) - x.unsqueeze(-1)).sum(-1) + 0.5

    batch, n = scores.shape
    yield from bench.contest(
        f"Pairwise({comparison!r}), {batch} x {n}", both_ways(Pairwise(comparison), scores),
        {"the dense formula": Other(both_ways(formula, scores))}, size=scores.numel(), seconds=0.5,
    )  # fmt: skip


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    sizes = [200, 2_000] if bench.quick else [1_000, 10_000, 100_000, 1_000_000]
    for comparison in (Step(), Ramp(0.1), Laplace(0.1), Logistic(0.1), Normal(0.1), Cauchy(0.1)):
        series = f"pairwise_sum, {comparison!r}, Q = K"
        for n in sizes:
            last = n == sizes[-1]
            others = {}
            # A step has no gradient to compare.
            if not isinstance(comparison, Step):
                others["the dense formula"] = Other(_dense(n, comparison), needs=16.0 * n * n)
            others |= yardsticks(normal(n), _LIMITS.get(comparison.kind) if last else None)
            yield from bench.contest(
                f"{series} = {n:,}", _ours(n, comparison), others, size=n, series=series,
                seconds=4.0 if last else 1.0,
            )  # fmt: skip
    for comparison in (Ramp(0.1), Laplace(0.1), Logistic(0.1), Normal(0.1), Cauchy(0.1)):
        for batch, n in [(2, 10)] if bench.quick else _SHORT:
            yield from _ranks(bench, comparison, normal(batch, n))
    for comparison in (Ramp(0.1), Laplace(0.1)):
        ranker, scores = Pairwise(comparison), normal(sizes[-1])
        yield from bench.contest(
            f"Pairwise({comparison!r}), n = {sizes[-1]:,}", both_ways(ranker, scores),
            yardsticks(scores, 4.0), size=sizes[-1], seconds=4.0,
        )  # fmt: skip
    yield from bench.memory(
        "pairwise_sum, Ramp(0.1), Q = K = 1,000,000", "queries and keys",
        "rankgrad.bench.suites.pairwise:ramp_step", 8e6,
    )  # fmt: skip
