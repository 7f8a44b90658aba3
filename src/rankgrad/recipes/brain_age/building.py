"""The ranker, the optimizer and the batch norm of a stage, as its settings want them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from rankgrad.rankers import RANKERS, Ranker, as_ranker
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.sorters import load_sorter

__all__ = ["optimizer_of", "ranker_of", "still_statistics"]


def ranker_of(name: str) -> Ranker:
    """Return the ranker of this name, or that of a file with a sorter.

    Raises:
        ValueError: neither.
    """
    if name not in RANKERS and Path(name).exists():
        return as_ranker(load_sorter(name))
    return as_ranker(name)


def optimizer_of(
    settings: BrainAgeSettings, stage: int, network: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer of a stage, for those weights that are trained."""
    kind, rate = (
        (settings.optimizer, settings.lr)
        if stage == 1
        else (settings.second_optimizer, settings.second_lr)
    )
    weights = [p for p in network.parameters() if p.requires_grad]
    if kind == "sgd":
        return torch.optim.SGD(weights, rate, weight_decay=settings.weight_decay)
    return torch.optim.Adam(weights, rate, weight_decay=settings.weight_decay, amsgrad=True)


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, batch norm uses those of the batch and keeps no account of them."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
