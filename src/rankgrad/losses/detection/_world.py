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

from rankgrad import kernels
from rankgrad.distributed import gather_shards, sum_over
from rankgrad.losses.detection._positives import Positives, locate, numbered, scatter

__all__ = ["Everyone", "world_errors"]


Pulls = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From the cotangents [errors, p]: ``pull`` and ``push`` of every positive."""


class Everyone:
    """The positives of all workers, and which of them are this worker's.

    Attributes:
        positives: those of all workers; ``groups`` are the segments of this worker's logits.
        targets: [p] the target of every positive, in the order of ``positives``.
        extra: [p] what else was gathered, or None.
        index: [p of this worker] the places of its positives, ascending.
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
    ) -> None:
        self.index, broken = kernels.implementation("find_positives", logits.device)(
            targets, exact_one
        )
        p = self.index.numel()
        # A worker that raised alone would leave the others waiting: all learn of it, all raise.
        wrong = extra is not None and extra.numel() != p
        notes = torch.tensor(
            [[p, broken, wrong, -1 if extra is None else extra.numel()]], device=logits.device
        )
        table = torch.cat(gather_shards(notes, group))
        for worker, (count, _, bad, given) in enumerate(table.tolist()):
            if bad:
                raise ValueError(
                    f"localization must have one error for each of the {count} positives, "
                    f"got {given} on worker {worker} of the group"
                )
        begin = int(table[: dist.get_rank(group), 0].sum())
        facts = [logits.detach()[self.index], targets[self.index]] + (
            [] if extra is None else [extra]
        )
        rows = torch.cat(gather_shards(torch.stack([f.double() for f in facts], 1), group)).T
        ids = None
        if segments is not None:
            ids = torch.cat(gather_shards(segments[self.index], group))
        found = locate(rows[0].contiguous(), torch.ones_like(rows[0]), ids, exact_one=True)
        order = found.index
        groups = None
        if segments is not None:
            assert ids is not None
            groups = numbered(segments, ids[order[found.starts[:-1]]])
        self.positives: Positives = replace(found, groups=groups, broken=bool(table[:, 1].any()))
        self.targets = rows[1][order]
        self.extra = None if extra is None else rows[2][order]
        where = torch.empty_like(order)
        where[order] = torch.arange(order.numel(), device=order.device)
        self.place = where[begin : begin + p]
        self.group = group

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
        table[:, self.place] = rows[:, self.index]
        return sum_over(table, self.group)

    def gradient(
        self, logits: Tensor, targets: Tensor, delta: float, pull: Tensor, push: Tensor
    ) -> Tensor:
        """Return the gradient at this worker's logits; see the single-process function."""
        out = self.positives.spread(logits, targets, delta, push)
        out[self.index] = -self.mine(pull).to(out.dtype)
        return out


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
            nothing = logits.new_tensor(torch.nan if everyone.positives.broken else 0.0)
            return tuple(nothing + e.sum().to(logits.dtype) for e in errors)
        return tuple(scatter(everyone.mine(e), everyone.index, logits) for e in errors)

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
    return found, logits.new_tensor(float(everyone.targets.numel()))
