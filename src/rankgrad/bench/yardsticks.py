"""What every operator on scores is held against: one sort, and one copy."""

from functools import partial

import torch
from torch import Tensor

from rankgrad.bench.contest import Other

__all__ = ["COPY", "SORT", "yardsticks"]

SORT = "one torch.sort"
COPY = "one copy of the scores"


def yardsticks(scores: Tensor, at_most: float | None = None) -> dict[str, Other]:
    """Return a sort of the scores along the last dimension, with our limit, and a copy."""
    plain = scores.detach()
    return {
        SORT: Other(partial(torch.sort, plain), limit=at_most),
        COPY: Other(partial(torch.empty_like(plain).copy_, plain)),
    }
