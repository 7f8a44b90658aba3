"""Compile the kernels ahead of their first use."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from rankgrad import losses, rankers
from rankgrad.comparisons import Laplace, Logistic, Ramp, Step
from rankgrad.kernels import backends
from rankgrad.pairwise import pairwise_sum
from rankgrad.ranks import rank

__all__ = ["warmup"]


def _uses(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return a call for every family of kernels, forward and backward, on a few numbers."""

    def scores(*shape: int) -> Tensor:
        return torch.linspace(-1, 1, max(torch.Size(shape).numel(), 1), dtype=dtype).view(shape)

    def trained(function: Callable[[Tensor], Tensor], *shape: int) -> Callable[[], None]:
        return lambda: function(scores(*shape).requires_grad_()).sum().backward()

    def pairs(comparison: Step | Ramp | Laplace | Logistic) -> Callable[[], None]:
        weights = scores(64)
        return trained(lambda s: pairwise_sum(s, s, weights, comparison=comparison), 64)

    positives = torch.arange(64).remainder(4).eq(0).to(dtype)
    relevant = torch.arange(8).remainder(2).eq(0).expand(8, 8)
    return {
        "rank": lambda: rank(scores(1, 64), ties="average"),
        "pairwise_sum, step": pairs(Step()),
        "pairwise_sum, ramp": pairs(Ramp()),
        "pairwise_sum, laplace": pairs(Laplace()),
        "pairwise_sum, smooth": pairs(Logistic()),
        "rank_sort": trained(lambda s: sum(losses.rank_sort(s, positives), s.new_zeros(())), 64),
        "projection": trained(rankers.Projection(), 64),
        "soft_sort": trained(rankers.soft_sort, 64),
        "soft_topk": trained(lambda s: rankers.soft_topk(s, 3), 64),
        "pairwise": trained(rankers.Pairwise(), 64),
        "neuralsort": trained(rankers.NeuralSort(), 64),
        "softsort": trained(rankers.SoftSort(), 64),
        "softly sorted": trained(rankers.NeuralSort().sort, 64),
        "permutation": trained(rankers.NeuralSort().permutation, 64),
        "neural_ndcg": trained(lambda s: losses.neural_ndcg_loss(s, torch.arange(8)), 8),
        "sorting_network": trained(rankers.SortingNetwork(), 16),
        "ranksim": trained(lambda x: losses.rank_sim_loss(x, torch.arange(8)), 8, 4),
        "rank_n_contrast": trained(lambda x: losses.rank_n_contrast_loss(x, torch.arange(8)), 8, 4),
        "smooth_ap": trained(lambda s: losses.smooth_ap_loss(s, relevant), 8, 8),
        "recall_at_k": trained(lambda s: losses.recall_at_k_loss(s, relevant), 8, 8),
    }


def warmup() -> dict[str, float]:
    """Compile the CPU kernels ahead of their first use.

    Uses every family of kernels once, forward and backward, in float32 and in float64. What was
    compiled is cached on disk, so that only the first process on a machine pays.

    Returns:
        The seconds spent, by what was used and dtype; empty where numba cannot run.

    >>> "rank, float32" in warmup()
    True
    """
    seconds: dict[str, float] = {}
    if backends()["numba"] != "available":
        return seconds
    for dtype in (torch.float32, torch.float64):
        for name, use in _uses(dtype).items():
            begin = time.perf_counter()
            use()
            seconds[f"{name}, {str(dtype).removeprefix('torch.')}"] = time.perf_counter() - begin
    return seconds
