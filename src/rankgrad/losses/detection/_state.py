"""What a detection loss keeps for its backward: one float64 row per fact, one column a positive."""

import torch
from torch import SymInt, Tensor

from rankgrad.losses.detection._positives import Positives, numbered

__all__ = ["fake_state", "pack", "unpack"]


def pack(positives: Positives, **facts: Tensor) -> Tensor:
    """Return the state [rows, p]: places, segments if there are any, and the facts.

    float64 holds places up to 2**53 exactly. Scores and targets can be read again.
    """
    rows = [positives.index, *facts.values()]
    if positives.groups is not None:
        rows.insert(1, positives.segment)
    return torch.stack([row.double() for row in rows])


def fake_state(
    logits: Tensor, segments: Tensor | None, facts: int, positives: int | SymInt
) -> Tensor:
    """Return a state without data, for tracing."""
    rows = facts + 1 + (segments is not None)
    return logits.new_empty((rows, positives), dtype=torch.float64)


def unpack(
    state: Tensor, logits: Tensor, segments: Tensor | None
) -> tuple[Positives, tuple[Tensor, ...]]:
    """Return the positives and the facts in the order in which they were packed."""
    index = state[0].long()
    scores = logits[index].double()
    if segments is None:
        starts = torch.arange(2, device=state.device) * index.numel()
        return Positives(index, scores, starts, None, False), tuple(state[1:])
    starts = torch.nn.functional.pad(state[1].long().bincount().cumsum(0), (1, 0))
    groups = numbered(segments, segments[index[starts[:-1]]])
    return Positives(index, scores, starts, groups, False), tuple(state[2:])
