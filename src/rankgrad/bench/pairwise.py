"""Weighted sums of comparisons over a million pairs of scores, against one sort."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rankgrad.bench.measure import Row, peak_extra_bytes, ratio
from rankgrad.comparisons import Cauchy, Comparison, Laplace, Logistic, Normal, Ramp, Step
from rankgrad.pairwise import pairwise_sum

__all__ = ["rows"]

_LIMITS = {"ramp": 3.0, "laplace": 4.0}


def _step(n: int, comparison: Comparison) -> tuple[Callable[[], None], Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(n, generator=generator).requires_grad_() for _ in range(2))

    def run() -> None:
        queries.grad = keys.grad = None
        pairwise_sum(queries, keys, comparison=comparison).square().sum().backward()

    return run, keys.detach()


def ramp_step(small: bool) -> Callable[[], None]:
    """Return forward and backward over a million queries and keys."""
    return _step(1_000 if small else 1_000_000, Ramp(0.1))[0]


def rows(quick: bool = False) -> Iterator[Row]:
    """Yield the rows of the table; ``quick`` takes sizes that a test can afford."""
    n = 2_000 if quick else 1_000_000
    budget = 0.02 if quick else 6.0
    for comparison in (Step(), Ramp(0.1), Laplace(0.1), Logistic(0.1), Normal(0.1), Cauchy(0.1)):
        run, keys = _step(n, comparison)
        yield ratio(
            f"pairwise_sum, {comparison!r}, Q = K = {n:,}", "one torch.sort of the keys",
            run, partial(torch.sort, keys), limit=_LIMITS.get(comparison.kind), size=n,
            budget=budget,
        )  # fmt: skip
    n = 500 if quick else 10_000
    run, _ = _step(n, Logistic(0.1))
    queries, keys = (torch.randn(n).requires_grad_() for _ in range(2))

    def dense() -> None:
        queries.grad = keys.grad = None
        sums = torch.sigmoid((keys[None, :] - queries[:, None]) / 0.1).sum(1)
        sums.square().sum().backward()

    yield ratio(
        f"pairwise_sum, Logistic(0.1), Q = K = {n:,}", "the dense formula in PyTorch", run, dense,
        size=n, budget=budget,
    )  # fmt: skip
    if not quick:
        extra = peak_extra_bytes("rankgrad.bench.pairwise:ramp_step")
        yield Row(
            "pairwise_sum, Ramp(0.1), Q = K = 1,000,000: peak extra memory",
            "queries and keys", extra, 8e6, "bytes", extra / 8e6, None, 1_000_000,
        )  # fmt: skip
