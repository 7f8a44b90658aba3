"""The detection losses over the batch of many workers, at the price of the positives.

Everybody gathers the few positives; each worker counts its own negatives ahead of all of them and
the counts are summed. So what is communicated grows with the positives, not with the logits, and
the numbers are those of one process with all the logits. Gradients: see
:mod:`rankgrad.distributed`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from rankgrad.distributed import gather_alike, gather_shards, sum_over
from rankgrad.losses.detection._locate import (
    check_room,
    find,
    locate,
    numbered,
    numbered_at_most,
)
from rankgrad.losses.detection._positives import Positives
from rankgrad.losses.detection._slots import Slots

__all__ = ["Everyone", "world_errors"]


Pulls = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From the cotangents [errors, p]: ``pull`` and ``push`` of every positive."""


class Everyone:
    """The positives of all workers, and which of them are this worker's.

    Attributes:
        positives: those of all workers; ``groups`` are the segments of this worker's logits.
        targets: [p] the target of every positive, in the order of ``positives``.
        extra: [p] what else was gathered, or None.
        slots: [p of this worker] the places of its positives, ascending.
        place: [p of this worker] where each of them stands in ``positives``.
    """

    def __init__(
        self,
        logits: Tensor,
        targets: Tensor,
        segments: Tensor | None,
        group: Any,
        exact_one: bool,
        extra: Tensor | None,
        most: int | None,
    ) -> None:
        self.group = group
        self.slots, count, unknown = find(targets, exact_one, most)
        facts = [self.slots.take(logits.detach()), self.slots.take(targets)]
        if extra is not None:
            facts.append(extra)
        if most is None:
            begin, broken = _agreed(self.slots, unknown, extra, group)
            gather = gather_shards
        else:
            assert self.slots.taken is not None
            assert count is not None
            assert isinstance(unknown, Tensor)
            begin = dist.get_rank(group) * most
            facts += [self.slots.taken, count.expand(most), unknown.expand(most)]
            gather = gather_alike
        rows = torch.cat(gather(torch.stack([f.double() for f in facts], 1), group)).T
        ids = None if segments is None else torch.cat(gather(self.slots.take(segments), group))
        taken = torch.ones_like(rows[0])
        if most is not None:
            taken, counts, lost = rows[-3:]
            check_room(counts, most)  # on all workers alike
            broken = ((lost > 0) | (counts > most)).any()
        total = rows.shape[1]
        found, _ = locate(
            rows[0].contiguous(),
            taken.contiguous(),
            ids,
            exact_one=True,
            most=None if most is None else total,
        )
        groups = None
        if segments is not None:
            assert ids is not None
            if most is None:
                groups = numbered(segments, ids[found.slots.index[found.starts[:-1]]])
            else:
                groups = numbered_at_most(segments, found.slots, found.starts, ids)
        self.positives: Positives = replace(found, groups=groups, broken=broken)
        self.targets = found.slots.take(rows[1], free=1.0)
        self.extra = None if extra is None else found.slots.take(rows[2])
        where = torch.full((total,), total - 1, device=rows.device)  # the last slot, if any is free
        found.slots.put(where, torch.arange(total, device=where.device))
        self.place = where[begin : begin + self.slots.index.shape[0]]

    def negatives_ahead(self, logits: Tensor, targets: Tensor, delta: float) -> Tensor:
        """Return the false positives of every positive among the negatives of all workers."""
        ahead = self.positives.negatives_ahead(logits.detach(), targets, delta)
        return sum_over(ahead.clone(), self.group) if ahead.numel() else ahead

    def mine(self, values: Tensor) -> Tensor:
        """Return the ``values`` [..., p] of this worker's positives, in order of their places."""
        return values[..., self.place]

    def cotangents(self, given: Sequence[Tensor]) -> Tensor:
        """Return the sum over workers of the cotangents, [errors, p] or [errors, 1].

        Each is a scalar, or dense over this worker's logits.
        """
        rows = torch.stack([g.double() for g in given])
        if rows.dim() == 1:
            return sum_over(rows, self.group)[:, None]
        table = rows.new_zeros((rows.shape[0], self.targets.numel()))
        table[:, self.place] = self.slots.take(rows)
        return sum_over(table, self.group)

    def gradient(
        self, logits: Tensor, targets: Tensor, delta: float, pull: Tensor, push: Tensor
    ) -> Tensor:
        """Return the gradient at this worker's logits; see the single-process function."""
        return self.slots.put(self.positives.spread(logits, targets, delta, push), -self.mine(pull))


def _agreed(slots: Slots, unknown: Any, extra: Tensor | None, group: Any) -> tuple[int, bool]:
    """Return how many positives are on the workers before this one, and whether a target is NaN.

    A worker that raised alone would leave the others waiting: all learn of it, all raise.
    """
    p = slots.index.shape[0]
    given = -1 if extra is None else extra.numel()
    wrong = extra is not None and given != p
    notes = torch.tensor([[p, unknown, wrong, given]], device=slots.index.device)
    table = torch.cat(gather_shards(notes, group))
    for worker, (count, _, bad, many) in enumerate(table.tolist()):
        if bad:
            raise ValueError(
                f"localization must have one error for each of the {count} positives, "
                f"got {many} on worker {worker} of the group"
            )
    return int(table[: dist.get_rank(group), 0].sum()), bool(table[:, 1].any())


class _World(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        everyone: Everyone,
        errors: Sequence[Tensor],
        delta: float,
        dense: bool,
        pulls: Pulls,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, targets)
        ctx.rest = (everyone, delta, pulls)
        if not dense:
            return tuple(everyone.positives.spoil(e.sum()).to(logits.dtype) for e in errors)
        return tuple(everyone.slots.scatter(everyone.mine(e), logits) for e in errors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets = ctx.saved_tensors
        everyone, delta, pulls = ctx.rest
        pull, push = pulls(everyone.cotangents(grads))
        grad = everyone.gradient(logits, targets, delta, pull, push)
        return grad, *(None,) * 6


def world_errors(
    logits: Tensor,
    targets: Tensor,
    everyone: Everyone,
    errors: Sequence[Tensor],
    delta: float,
    dense: bool,
    pulls: Pulls,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Give errors [p] their gradients; return them and the number of positives of all workers.

    The errors come back summed over all workers, or dense at this worker's logits.
    """
    found = _World.apply(logits, targets, everyone, errors, delta, dense, pulls)
    return found, everyone.positives.slots.count(logits)
