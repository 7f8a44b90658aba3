"""What losses share: reductions over the valid entries, and the way out of autocast."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from rankgrad.checks import check_reduction
from rankgrad.distributed import Group, all_sum, members

__all__ = ["full_precision", "reduce"]


def reduce(
    values: Tensor, reduction: str, valid: Tensor | None = None, *, group: Group = None
) -> Tensor:
    """Reduce ``values`` over the entries for which ``valid`` is True.

    Where ``valid`` is False the value counts as zero, whatever it holds, and "mean" does not count
    it. With no valid entry at all the result is zero and keeps its graph. (The gradient of an
    invalid value is zero; one that is infinite or NaN further up the graph must be kept away
    there.)

    Args:
        values: any shape, a scalar included.
        reduction: "mean", "sum" or "none" (the values, zero where not valid).
        valid: boolean, broadcastable to ``values``; None = all valid.
        group: the workers whose values "mean" and "sum" are over.

    >>> reduce(torch.tensor([1.0, 3.0, torch.nan]), "mean", torch.tensor([True, True, False]))
    tensor(2.)
    >>> reduce(torch.zeros(0), "mean")
    tensor(0.)
    """
    check_reduction(reduction)
    if valid is not None:
        valid = valid.expand_as(values)
        values = torch.where(valid, values, 0.0)
    if reduction == "none":
        return values
    total = all_sum(values.sum(), group)
    if reduction == "sum":
        return total
    if members(group) is not None:
        count = values.new_full((), values.numel()) if valid is None else valid.sum()
        return total / all_sum(count.to(values.dtype), group).clamp(min=1)
    if valid is None:
        return total / max(values.numel(), 1)
    return total / valid.sum().clamp(min=1)


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off inside a ``with`` block: rounded similarities have other ranks."""
    return torch.autocast(device.type, enabled=False)
