"""Problems of Rank & Sort among positives, and what comes out by the matrix of all pairs."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["KINDS", "Problem", "draw", "errors", "pulls"]

KINDS = ["random", "tied", "huge", "far", "infinite", "segments", "singles", "nan"]


class Problem(NamedTuple):
    """Positives sorted by segment and score, all float64."""

    scores: Tensor
    quality: Tensor
    ahead: Tensor
    starts: Tensor


def draw(kind: str, p: int) -> Problem:
    torch.manual_seed(p)
    x = torch.randn(p).double()
    if kind == "tied":
        x = (2 * x).round() / 4
    elif kind == "huge":
        x = 1e15 + x.round() / 4
    elif kind == "far":
        x = 1e300 * x.round()
    elif kind == "infinite":
        x[::5], x[1::5] = torch.inf, -torch.inf
    cuts = {"segments": [p // 3, p // 3, p // 2], "nan": [p // 2], "singles": list(range(p))}
    starts = torch.tensor([0, *cuts.get(kind, []), p])
    if kind == "nan" and p:
        x[-1] = torch.nan
    for a, b in pairwise(starts.tolist()):
        x[a:b] = x[a:b].sort().values
    quality = (torch.randint(1, 9, (p,)) / 8).double()
    return Problem(x, quality, torch.randn(p).double().clamp(min=0), starts)


def _matrix(b: Problem, delta: float) -> Tensor:
    """``H(s_j - s_i)`` [i, j], 0 in other segments."""
    x, s = b.scores[None, :], b.scores[:, None]
    gap = torch.where(x == s, 0.0, x - s)
    h = (gap / (2 * delta) + 0.5).clamp(0, 1) if delta > 0 else (gap >= 0).double()
    h = torch.where(gap.isnan(), gap, h)
    group = torch.repeat_interleave(torch.arange(len(b.starts) - 1), b.starts.diff())
    return torch.where(group[None, :] == group[:, None], h, 0.0)


def errors(b: Problem, delta: float) -> Tensor:
    """Ranking and sorting error, pull, push and what is missorted, [5, p]."""
    h, loss = _matrix(b, delta), 1 - b.quality
    better = h * (b.quality[None, :] >= b.quality[:, None])
    rank = h.sum(1) + b.ahead
    ranking = b.ahead / rank
    sorting = h @ loss / h.sum(1) - better @ loss / better.sum(1)
    gate = ~(b.ahead <= 1e-5)
    pull, push = torch.where(gate, ranking, 0), torch.where(gate, 1 / rank, 0)
    return torch.stack([ranking, sorting, pull, push, (h - better).sum(1)])


def pulls(b: Problem, facts: Tensor, cotangents: Tensor, delta: float) -> Tensor:
    """Pull of every positive, and push, [2, p]: each pair's share is handed over by itself."""
    pull, push, sorting, missorted = facts
    worse = _matrix(b, delta) * (b.quality[None, :] < b.quality[:, None])  # j is ahead of i
    mass = torch.where(~(missorted <= 1e-5), cotangents[1] * sorting, 0)
    part = torch.where(worse != 0, worse * torch.nan_to_num(mass / missorted)[:, None], 0)
    return torch.stack([cotangents[0] * pull + mass - part.sum(0), cotangents[0] * push])
