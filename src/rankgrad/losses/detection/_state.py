"""What a detection loss keeps for its backward: one float64 row per fact, one column a positive."""

import torch
from torch import SymInt, Tensor

from rankgrad.losses.detection._locate import arranged, numbered
from rankgrad.losses.detection._positives import Positives
from rankgrad.losses.detection._slots import Slots

__all__ = ["fake_state", "pack", "unpack"]


def pack(positives: Positives, **facts: Tensor) -> Tensor:
    """Return the state [rows, p]: places, segments unless there is one, and the facts.

    float64 holds places up to 2**53 exactly. Scores and targets can be read again.
    """
    rows = [positives.slots.places, *facts.values()]
    if positives.segment is not None:
        rows.insert(1, positives.segment)
    return torch.stack([row.double() for row in rows])


def fake_state(
    logits: Tensor, segments: Tensor | None, facts: int, slots: int | SymInt | None, bounded: bool
) -> Tensor:
    """Return a state without data, for tracing; ``slots`` None is a number yet to be found."""
    rows = facts + 1 + (segments is not None or bounded)
    size = torch.library.get_ctx().new_dynamic_size() if slots is None else slots
    return logits.new_empty((rows, size), dtype=torch.float64)


def unpack(
    state: Tensor, logits: Tensor, segments: Tensor | None, bounded: bool
) -> tuple[Positives, Tensor]:
    """Return the positives and the facts [facts, p] in the order in which they were packed."""
    slots = Slots.of(state[0].long(), bounded)
    scores = slots.take(logits).double()
    if bounded:
        return arranged(slots, scores, state[1].long(), segments, False), state[2:]
    if segments is None:
        starts = torch.arange(2, device=state.device) * scores.shape[0]
        return Positives(slots, scores, None, starts, None, False), state[1:]
    segment = state[1].long()
    starts = torch.nn.functional.pad(segment.bincount().cumsum(0), (1, 0))
    groups = numbered(segments, segments[slots.index[starts[:-1]]])
    return Positives(slots, scores, segment, starts, groups, False), state[2:]
