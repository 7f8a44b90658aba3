"""The paper's picture: true against predicted rank, and the gradient."""

from pathlib import Path

import numpy as np
import torch

from rankgrad.data.sequences import sequences
from rankgrad.ranks import rank
from rankgrad.recipes.sorters.evaluation import Ranks
from rankgrad.report.style import COLORS, INK, canvas, describe
from rankgrad.sorters import Sorter

__all__ = ["draw"]


def draw(
    ranks: Ranks | Sorter, length: int, path: str | Path, *, name: str, dist: str = "uniform"
) -> Path:
    """Draw one sequence's predicted over its true ranks, and the derivative of each rank.

    On the right is what one score does to its own rank: ``d rank_i / d score_i`` as the score
    goes from below all others to above them, beside the rank itself.

    Args:
        ranks: the sorter, or a function to ranks over n.
        length: of the sequence.
        path: ``.png``, ``.svg`` or ``.pdf``.
        name: for the title.
        dist: what the sequence is drawn from.
    """
    x = sequences(1, length, dist, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        predicted = ranks(x)[0].numpy()
    true = rank(x, normalize=True)[0].numpy()
    figure, (left, right) = canvas(width=9.2, height=4.0, columns=2)
    left.plot([0, 1], [0, 1], color=INK, linewidth=1)
    left.plot(true, predicted, ".", color=COLORS[1], ms=6, alpha=0.7)
    error = np.abs(predicted - true).mean()
    describe(left, f"{name}: mean error {error:.4f}", "true rank / n", "predicted rank / n")

    low, high = x.min().item(), x.max().item()
    margin = 0.1 * (high - low)
    moving = torch.linspace(low - margin, high + margin, 201, requires_grad=True)
    others = x[0, 1:].expand(len(moving), -1)
    own = ranks(torch.cat([moving[:, None], others], -1))[:, 0]
    (slope,) = torch.autograd.grad(own.sum(), moving)
    at = moving.detach().numpy()
    right.plot(at, own.detach().numpy(), color=COLORS[1], linewidth=1.9, label="rank / n")
    twin = right.twinx()
    twin.plot(at, -slope.numpy(), color=COLORS[2], linewidth=1.2, label="minus its derivative")
    twin.grid(visible=False)
    describe(right, "One score among the others", "score", "rank / n")
    twin.set_ylabel("minus the derivative", color=COLORS[2])
    path = Path(path)
    figure.savefig(path)
    return path
