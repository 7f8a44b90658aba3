"""Rank & Sort loss: its price beside focal loss, a sort, and the loop that it replaces."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rankgrad.bench.measure import Row, peak_extra_bytes, ratio, times
from rankgrad.losses.detection import RankSortLoss

__all__ = ["rows"]


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
    return logits.requires_grad_(), targets


def step(loss_fn: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Any:
    """Return a call of forward and backward."""

    def run() -> None:
        logits.grad = None
        loss_fn(logits, targets).backward()

    return run


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


def _focal(logits: Tensor, targets: Tensor) -> Tensor:
    from torchvision.ops import sigmoid_focal_loss

    loss: Tensor = sigmoid_focal_loss(logits, targets, reduction="sum")
    return loss


def transformer_step(small: bool) -> Callable[[], None]:
    """Return forward and backward at 100,000 logits of which 20,000 are positive."""
    n, p = (1_000, 200) if small else (100_000, 20_000)
    run: Callable[[], None] = step(RankSortLoss(), *detector_output(n, p, 1.0))
    return run


def rows(quick: bool = False) -> Iterator[Row]:
    """Yield the rows of the table; ``quick`` takes sizes that a test can afford."""
    loss_fn = RankSortLoss()
    n, p = (20_000, 20) if quick else (4_000_000, 1_000)
    budget = 0.02 if quick else 6.0
    work = f"Rank & Sort, N = {n:,}, P = {p:,}"

    logits, targets = detector_output(n, p, 0.05)
    classes = (targets > 0).to(logits.dtype)
    ours = step(loss_fn, logits, targets)
    yield ratio(
        f"{work}, 5 % within reach", "sigmoid focal loss", ours, step(_focal, logits, classes),
        limit=0.6, size=n, budget=budget,
    )  # fmt: skip
    other = torch.empty_like(targets)
    yield ratio(
        f"{work}, 5 % within reach", "copying logits, targets and gradient once", ours,
        lambda: (other.copy_(logits), other.copy_(targets), other.copy_(targets)),
        size=n, budget=budget,
    )  # fmt: skip
    check_logits, check_targets = detector_output(20_000, 50, 1.0)
    loss, grad = textbook(check_logits, check_targets)
    mine = loss_fn(check_logits, check_targets)
    mine.backward()
    torch.testing.assert_close(mine, loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(check_logits.grad, grad, rtol=1e-4, atol=1e-7)
    begun = times({"loop": lambda: textbook(logits, targets)}, budget=0.0, least=1)["loop"]
    quickest = min(times({"ours": ours}, budget=budget)["ours"])
    yield Row(
        f"{work}, 5 % within reach", "textbook loop over positives", quickest, min(begun), "ms",
        quickest / min(begun), None, n,
    )  # fmt: skip

    logits, targets = detector_output(n, p, 1.0)
    flat = logits.detach()
    yield ratio(
        f"{work}, all within reach", "one torch.sort of the logits",
        step(loss_fn, logits, targets), lambda: torch.sort(flat), limit=0.3, size=n, budget=budget,
    )  # fmt: skip

    begun = times({"loop": lambda: textbook(logits, targets)}, budget=0.0, least=1)["loop"]
    quickest = min(times({"ours": step(loss_fn, logits, targets)}, budget=budget)["ours"])
    yield Row(
        f"{work}, all within reach", "textbook loop over positives", quickest, min(begun), "ms",
        quickest / min(begun), 0.01, n,
    )  # fmt: skip

    many = 2_000 if quick else 100_000
    logits, targets = detector_output(many, many // 5, 1.0)
    yield ratio(
        f"Rank & Sort, N = {many:,}, P = {many // 5:,}", "sigmoid focal loss",
        step(loss_fn, logits, targets), step(_focal, logits, (targets > 0).float()),
        size=many, budget=budget,
    )  # fmt: skip
    if not quick:
        extra = peak_extra_bytes("rankgrad.bench.detection:transformer_step")
        yield Row(
            "Rank & Sort, N = 100,000, P = 20,000: peak extra memory", "40 bytes a logit",
            extra, 40.0 * 100_000, "bytes", extra / (40.0 * 100_000), 1.0, 100_000,
        )  # fmt: skip
    yield from _growth(quick)


def _growth(quick: bool) -> Iterator[Row]:
    """Yield the time at N against that at N / 2, with a quarter of a per mille positive."""
    sizes = [1_000, 2_000] if quick else [100_000 * 2**i for i in range(8)]
    steps = {
        str(n): step(RankSortLoss(), *detector_output(n, max(n // 4_000, 1), 0.05)) for n in sizes
    }
    taken = times(steps, budget=0.02 if quick else 12.0)
    for half, n in pairwise(sizes):
        turns = sorted(a / b for a, b in zip(taken[str(n)], taken[str(half)], strict=True))
        ours, theirs = sorted(taken[str(n)]), sorted(taken[str(half)])
        yield Row(
            f"growth: N = {n:,}", f"N = {half:,}", ours[len(ours) // 2], theirs[len(theirs) // 2],
            "ms", turns[len(turns) // 2], 2.3, n,
        )  # fmt: skip
