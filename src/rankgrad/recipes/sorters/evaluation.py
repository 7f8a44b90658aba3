"""What a sorter is measured by: errors of its ranks, what its gradient is like, its cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from rankgrad.data.sequences import PUBLISHED, Distribution, sequences
from rankgrad.metrics import spearman
from rankgrad.rankers import as_ranker
from rankgrad.ranks import rank
from rankgrad.sorters import Sorter

__all__ = ["RANKERS", "Measured", "evaluate", "gradient_facts", "ranker_functions"]

Ranks = Callable[[Tensor], Tensor]
"""From ``[rows, n]`` scores to ranks over n."""

RANKERS = ("exa", "logistic", "laplace", "projection", "softsort", "neuralsort")
"""What a sorter stands beside by default."""


@dataclass(frozen=True)
class Measured:
    """One ranker at one length. Errors are mean absolute differences of ranks over n."""

    name: str
    length: int
    errors: dict[str, float]
    spearman: dict[str, float]
    milliseconds: float
    """Forward and backward of one sequence, the median."""
    gradient: dict[str, float] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """The mean over the distributions."""
        return sum(self.errors.values()) / len(self.errors)

    @property
    def correlation(self) -> float:
        """Spearman's correlation with the true ranks, the mean over the distributions."""
        return sum(self.spearman.values()) / len(self.spearman)


def ranker_functions(names: Sequence[str] = RANKERS) -> dict[str, Ranks]:
    """Return rankers of the library by name, as functions to ranks over n.

    All but "exa", which finds its own scale, get scores of deviation 1.
    """

    def over_n(name: str) -> Ranks:
        ranker = as_ranker("sodeep" if name == "exa" else name)

        def ranks(x: Tensor) -> Tensor:
            if name != "exa":
                x = x / x.std(-1, keepdim=True).clamp(min=1e-12)
            return ranker(x) / x.shape[-1]

        return ranks

    return {name: over_n(name) for name in names}


def evaluate(
    name: str,
    ranks: Ranks | Sorter,
    length: int,
    dists: Sequence[str | int | Distribution] = PUBLISHED,
    *,
    rows: int | None = None,
    seed: int = 1_000_003,
    device: torch.device | str = "cpu",
    timed: bool = True,
) -> Measured:
    """Measure one ranker at one length, on sequences that no training has seen.

    Args:
        name: what it is called.
        ranks: the sorter, or any function to ranks over n.
        length: of the sequences.
        dists: which distributions.
        rows: sequences of each; by default 200, fewer when they are long.
        seed: of the sequences; the same seed, the same sequences for every ranker.
        device: where.
        timed: whether to take the time and look at the gradient as well.
    """
    rows = rows or max(4, min(200, 20_000 // length))
    errors, correlations = {}, {}
    with torch.no_grad():
        for kind in dists:
            generator = torch.Generator(device).manual_seed(seed)
            x = sequences(rows, length, kind, generator=generator)
            true = rank(x, ties="average", normalize=True)
            out = ranks(x)
            label = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
            errors[label] = (out - true).abs().mean().item()
            # Larger scores have smaller ranks on both sides.
            correlations[label] = spearman(out, true).mean().item()
    if not timed:
        return Measured(name, length, errors, correlations, float("nan"))
    x = sequences(1, length, "normal", generator=torch.Generator(device).manual_seed(seed))
    gradient = gradient_facts(ranks, length, seed=seed, device=device)
    return Measured(name, length, errors, correlations, _milliseconds(ranks, x), gradient)


def gradient_facts(
    ranks: Ranks | Sorter,
    length: int,
    dist: str | int = "normal",
    *,
    rows: int = 50,
    seed: int = 1_000_003,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Return what the gradient of a Spearman loss is like, on sequences and random targets.

    ``alive``: the fraction of scores whose gradient is above 5 % of the mean of its sequence;
    ``peak``: the largest over that mean; ``downhill``: the correlation between the direction that
    the gradient gives and the one in which the scores must go, that is, true rank minus wanted.
    """
    generator = torch.Generator(device).manual_seed(seed + 1)
    x = sequences(rows, length, dist, generator=generator).requires_grad_()
    wanted = rank(torch.rand(x.shape, generator=generator, device=x.device), normalize=True)
    loss = (ranks(x) - wanted).square().sum()
    (gradient,) = torch.autograd.grad(loss, x)
    size = gradient.abs()
    mean = size.mean(-1, keepdim=True)
    way = rank(x.detach(), normalize=True) - wanted
    return {
        "alive": (size > 0.05 * mean).float().mean().item(),
        "peak": (size.amax(-1, keepdim=True) / mean.clamp(min=1e-30)).mean().item(),
        "downhill": spearman(-gradient, way).mean().item(),
    }


def _milliseconds(ranks: Ranks | Sorter, x: Tensor, least: int = 5) -> float:
    """The median time of one forward and backward pass."""
    times: list[float] = []
    end = time.perf_counter() + 0.5
    while len(times) < least + 2 or (time.perf_counter() < end and len(times) < 200):
        scores = x.clone().requires_grad_()
        started = time.perf_counter()
        torch.autograd.grad(ranks(scores).square().sum(), scores)
        if x.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 1e3 * median(times[2:])
