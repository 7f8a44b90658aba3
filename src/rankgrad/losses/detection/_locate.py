"""Finding the positives of the detection losses, and bringing them into order."""

import torch
from torch import Tensor

from rankgrad import kernels
from rankgrad.losses.detection._positives import Positives
from rankgrad.losses.detection._slots import Slots

__all__ = ["arranged", "check_room", "find", "locate", "numbered", "numbered_at_most"]

_LARGEST = torch.iinfo(torch.int64).max


def find(
    targets: Tensor, exact_one: bool, most: int | None
) -> tuple[Slots, Tensor | None, bool | Tensor]:
    """Return the slots of the positives, how many there are, and whether a target is NaN.

    Without ``most`` the host waits to learn how many there are: as many as slots.
    """
    if most is None:
        index, unknown = kernels.implementation("find_positives", targets.device)(
            targets, exact_one
        )
        return Slots(index), None, unknown
    places, count, unknown = kernels.implementation("find_at_most", targets.device)(
        targets, exact_one, most
    )
    return Slots.of(places, bounded=True), count, unknown


def check_room(count: Tensor, most: int) -> None:
    """Raise if there are more positives than slots, unless the host would have to wait for it."""
    if count.device.type != "cpu":
        return
    fits = (count <= most).all()
    named = "max_positives must be at least the number of positives"
    if torch.compiler.is_compiling():  # a map is, which counts before the operator is called
        torch._assert_async(fits, named)
    elif not fits:
        raise ValueError(f"{named}, {int(count.max())} here, got {most}")


def locate(
    logits: Tensor, targets: Tensor, segments: Tensor | None, *, exact_one: bool, most: int | None
) -> tuple[Positives, Tensor]:
    """Find and sort the positives of flat inputs; return also their order: sorted from found."""
    slots, count, broken = find(targets, exact_one, most)
    scores = slots.take(logits).double()
    if most is not None:
        assert count is not None
        check_room(count, most)
        order, segment = _order_with_free_slots(slots, scores, segments)
        slots, scores, broken = slots[order], scores[order], broken | (count > most)
        return arranged(slots, scores, segment, segments, broken), order
    if segments is None:
        order = kernels.implementation("argsort", logits.device)(scores[None], False)[0]
        starts = torch.arange(2, device=logits.device) * scores.shape[0]
        return Positives(slots[order], scores[order], None, starts, None, broken), order
    ids, segment, counts = torch.unique(
        segments[slots.index], return_inverse=True, return_counts=True
    )
    order = kernels.implementation("pairwise_order", logits.device)(scores[None], segment[None])[0]
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    groups = numbered(segments, ids)
    return Positives(slots[order], scores[order], segment[order], starts, groups, broken), order


def _order_with_free_slots(
    slots: Slots, scores: Tensor, segments: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the order by segment and score, free slots last, and in it the segment of each.

    Free slots are the last as they come, and sorting is stable: as NaN they stay behind all others.
    """
    assert slots.taken is not None
    free = ~slots.taken
    scores = slots.only(scores, free=torch.nan)[None]
    if segments is None:
        order: Tensor = kernels.implementation("argsort", scores.device)(scores, False)[0]
        return order, free.cumsum(0)
    ids = slots.take(segments, free=_LARGEST)
    order = kernels.implementation("pairwise_order", scores.device)(scores, ids[None])[0]
    opens = free.clone()
    opens[1:] |= ids[order].diff() != 0
    opens[:1] = True
    return order, opens.cumsum(0) - 1


def arranged(
    slots: Slots, scores: Tensor, segment: Tensor, segments: Tensor | None, broken: bool | Tensor
) -> Positives:
    """Return sorted positives with free slots; no size depends on how many are taken."""
    # Alone, segment 0 is that of all logits, with a positive or without; then come the free slots.
    edges = torch.arange(scores.shape[0] + 2, device=scores.device)
    starts = torch.searchsorted(segment, edges)
    groups = None if segments is None else numbered_at_most(segments, slots, starts, segments)
    return Positives(slots, scores, segment, starts, groups, broken)


def numbered_at_most(segments: Tensor, slots: Slots, starts: Tensor, ids: Tensor) -> Tensor:
    """Return the segment of each id in ``segments`` in the numbering of ``starts``, or -1.

    ``ids`` holds the id of every positive where its slot says. Nobody waits for their number.
    """
    assert slots.taken is not None
    first = starts[:-1].clamp(max=slots.index.shape[0] - 1)
    there = (starts[:-1] < starts[1:]) & slots.taken[first]
    known = torch.where(there, slots.take(ids)[first], _LARGEST)  # ascending
    place = _looked_up(segments, known)
    return torch.where(there[place], place, -1)


def numbered(segments: Tensor, ids: Tensor) -> Tensor:
    """Return the place of every segment id in the sorted ``ids``, -1 if it is not there."""
    if ids.numel() == 0:
        return torch.full_like(segments, -1)
    low, width = ids[0], int(ids[-1]) - int(ids[0]) + 1
    if width > 4 * segments.numel() + 1024:  # too sparse for a table
        return _looked_up(segments, ids)
    table = torch.full((width,), -1, device=ids.device)
    table[ids - low] = torch.arange(ids.numel(), device=ids.device)
    inside = (segments >= low) & (segments <= ids[-1])
    return torch.where(inside, table[(segments - low).clamp(0, width - 1)], -1)


def _looked_up(segments: Tensor, ids: Tensor) -> Tensor:
    """Return the first place of every segment id in the sorted ``ids``, -1 if it is not there."""
    place = torch.searchsorted(ids, segments).clamp(max=ids.numel() - 1)
    return torch.where(ids[place] == segments, place, -1)
