"""What a detection loss keeps for its backward: one float64 row per fact, one column a positive."""

import torch
from torch import Tensor

from rankgrad.losses.detection._positives import Positives, numbered

__all__ = ["pack", "unpack"]

_COMMON = 3  # index, score, segment


def pack(positives: Positives, **facts: Tensor) -> Tensor:
    """Return the state [rows, p]; float64 holds places up to 2**53 exactly."""
    rows = (positives.index, positives.scores, positives.segment, *facts.values())
    return torch.stack([row.double() for row in rows])


def unpack(state: Tensor, segments: Tensor | None) -> tuple[Positives, tuple[Tensor, ...]]:
    """Return the positives and the facts in the order in which they were packed."""
    index, segment = state[0].long(), state[2].long()
    groups = None
    starts = torch.tensor([0, index.numel()], device=state.device)
    if segments is not None:
        starts = torch.nn.functional.pad(segment.bincount().cumsum(0), (1, 0))
        groups = numbered(segments, segments[index[starts[:-1]]])
    return Positives(index, state[1], starts, groups, False), tuple(state[_COMMON:])
