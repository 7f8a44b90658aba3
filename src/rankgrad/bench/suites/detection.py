"""Rank & Sort loss: its price beside focal loss, a sort, and the loop that it replaces."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from rankgrad.bench import peers
from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.measure import median_ratio, times
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, both_ways
from rankgrad.bench.yardsticks import SORT
from rankgrad.losses.detection import RankSortLoss

__all__ = ["rows"]

_FOCAL = "sigmoid focal loss"
_LOOP = "textbook loop over positives"
_COPIES = "copying logits, targets and gradient once"


def detector_output(n: int, p: int, within_reach: float) -> tuple[Tensor, Tensor]:
    """Return logits and targets; so many of the negatives reach the lowest positive's ramp."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randperm(n, generator=generator)[:p]
    logits = torch.randn(n, generator=generator)
    targets = torch.zeros(n)
    targets[place] = 0.5 + 0.5 * torch.rand(p, generator=generator)
    logits[place] = 3.0 + torch.randn(p, generator=generator)
    floor = logits[place].min() - 0.5
    negatives = torch.sort(logits[targets == 0]).values
    lowest = negatives[min(int((1 - within_reach) * negatives.numel()), negatives.numel() - 1)]
    logits[targets == 0] += floor - lowest
    return logits, targets


def textbook(logits: Tensor, targets: Tensor, delta: float = 0.5) -> tuple[Tensor, Tensor]:
    """Rank & Sort as the paper writes it, one positive at a time: the loss and the gradient."""
    with torch.no_grad():
        positive, s, t = targets > 0, logits[targets > 0], targets[targets > 0]
        relevant = (targets == 0) & (logits >= s.min() - delta)
        x = logits[relevant]
        total = logits.new_zeros(())
        to_positives, to_negatives = torch.zeros_like(s), torch.zeros_like(x)
        for i in range(s.numel()):
            among = ((s - s[i]) / (2 * delta) + 0.5).clamp(0, 1)
            ahead = ((x - s[i]) / (2 * delta) + 0.5).clamp(0, 1)
            false, place = ahead.sum(), among.sum()
            ranking = false / (place + false)
            better = (t >= t[i]) * among
            sorting = (among * (1 - t)).sum() / place - (better * (1 - t)).sum() / better.sum()
            total += ranking + sorting
            if false > 1e-5:
                to_positives[i] -= ranking
                to_negatives += ahead * (ranking / false)
            worse = among - better
            if worse.sum() > 1e-5:
                to_positives[i] -= sorting
                to_positives += worse * (sorting / worse.sum())
        grad = torch.zeros_like(logits)
        grad[positive] = to_positives / s.numel()
        grad[relevant] = to_negatives / s.numel()
        return total / s.numel(), grad


def _ours(logits: Tensor, targets: Tensor) -> Callable[[], Outcome]:
    return both_ways(partial(RankSortLoss(), targets=targets), logits)


def _loop(logits: Tensor, targets: Tensor, limit: float | None = None) -> Other:
    def run() -> Outcome:
        loss, gradient = textbook(logits, targets)
        return Outcome([loss], [gradient])

    return Other(run, limit)


def _focal(logits: Tensor, targets: Tensor, limit: float | None = None) -> dict[str, Other]:
    library = peers.load("torchvision")
    if library is None:
        return {}
    classes = (targets > 0).to(logits.dtype)
    run = both_ways(lambda x: library.sigmoid_focal_loss(x, classes, reduction="sum"), logits)
    return {_FOCAL: Other(run, limit, alike=False)}


def _copies(logits: Tensor, targets: Tensor) -> Other:
    out = torch.empty_like(targets)
    return Other(lambda: [out.copy_(source) for source in (logits, targets, targets)])


def transformer_step(small: bool) -> Callable[[], Outcome]:
    """Return forward and backward at 100,000 logits of which 20,000 are positive."""
    n, p = (1_000, 200) if small else (100_000, 20_000)
    return _ours(*detector_output(n, p, 1.0))


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    n, p = (20_000, 20) if bench.quick else (4_000_000, 1_000)
    work = f"Rank & Sort, N = {n:,}, P = {p:,}"

    logits, targets = detector_output(n, p, 0.05)
    yield from bench.contest(
        f"{work}, 5 % within reach", _ours(logits, targets),
        {
            **_focal(logits, targets, 0.6),
            _COPIES: _copies(logits, targets),
            _LOOP: _loop(logits, targets),
        },
        size=n, seconds=4.0,
    )  # fmt: skip

    logits, targets = detector_output(n, p, 1.0)
    yield from bench.contest(
        f"{work}, all within reach", _ours(logits, targets),
        {
            f"{SORT} of the logits": Other(partial(torch.sort, logits), 0.3),
            _LOOP: _loop(logits, targets, 0.01),
        },
        size=n, seconds=4.0,
    )  # fmt: skip

    many = 2_000 if bench.quick else 100_000
    logits, targets = detector_output(many, many // 5, 1.0)
    yield from bench.contest(
        f"Rank & Sort, N = {many:,}, P = {many // 5:,}", _ours(logits, targets),
        _focal(logits, targets), size=many,
    )  # fmt: skip
    yield from bench.memory(
        "Rank & Sort, N = 100,000, P = 20,000", "40 bytes a logit",
        "rankgrad.bench.suites.detection:transformer_step", 40.0 * 100_000, 1.0,
    )  # fmt: skip
    yield from _sweep(bench)
    yield from _growth(bench)


def _sweep(bench: Bench) -> Iterator[Row]:
    """Everybody over N, with a quarter of a per mille positive."""
    series = "Rank & Sort, P = N / 4,000, 5 % within reach"
    for n in [4_000, 8_000] if bench.quick else [100_000 * 4**i for i in range(4)]:
        logits, targets = detector_output(n, max(n // 4_000, 1), 0.05)
        others = {
            **_focal(logits, targets),
            f"{SORT} of the logits": Other(partial(torch.sort, logits)),
            _COPIES: _copies(logits, targets),
            _LOOP: _loop(logits, targets),
        }
        yield from bench.contest(
            f"{series}, N = {n:,}", _ours(logits, targets), others, size=n, series=series
        )


def _growth(bench: Bench) -> Iterator[Row]:
    """Our time at N against that at N / 2, all sizes by turns."""
    sizes = [1_000, 2_000] if bench.quick else [100_000 * 2**i for i in range(8)]
    steps = {str(n): _ours(*detector_output(n, max(n // 4_000, 1), 0.05)) for n in sizes}
    taken = times(steps, budget=bench.seconds(10.0))
    for half, n in pairwise(sizes):
        ours, theirs = taken[str(n)], taken[str(half)]
        yield Row(
            f"growth: N = {n:,}", f"N = {half:,}", median(ours), median(theirs), "ms",
            median_ratio(ours, theirs), bench.limit(2.3), n,
        )  # fmt: skip
