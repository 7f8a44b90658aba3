"""Batches under ``torch.func.vmap``: every sample becomes a segment of one flat call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from rankgrad.losses.detection._locate import check_room
from rankgrad.operators import front

__all__ = ["fold_backward", "fold_forward", "folded", "kept", "spoilt"]


def folded(
    size: int, logits: Tensor, targets: Tensor, segments: Tensor | None, dims: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return flat logits, targets and segments in which every sample has segments of its own."""
    logits, targets = front(logits, dims[0], size), front(targets, dims[1], size)
    row = torch.arange(size, device=logits.device)[:, None].expand(logits.shape)
    if segments is not None:
        row = _numbered(front(segments, dims[2], size)) * size + row
    return logits.reshape(-1), targets.reshape(-1), row.reshape(-1)


def _numbered(ids: Tensor) -> Tensor:
    """Number the distinct ids from 0, so that multiples of them cannot overflow."""
    values, order = ids.reshape(-1).sort()
    number = torch.nn.functional.pad((values.diff() != 0).cumsum(0), (1, 0))
    return torch.zeros_like(values).scatter(0, order, number).view(ids.shape)


def spoilt(rows: Tensor, lost: Tensor) -> Tensor:
    """Return ``rows`` [size, ...], NaN where a sample is lost; their gradients stay."""
    none = torch.zeros((), dtype=rows.dtype, device=rows.device)
    return rows + torch.where(lost, torch.nan, none).view(-1, *(1,) * (rows.dim() - 1))


def fold_forward(op: Any, errors: int, is_positive: Callable[[Tensor], Tensor]) -> None:
    """Register the rule of ``op(logits, targets, segments, delta, dense, most)``.

    It returns ``errors`` errors, the number of positives and the state; the state stays folded.
    """

    def rule(
        info: Any,
        in_dims: tuple[Any, ...],
        logits: Tensor,
        targets: Tensor,
        segments: Tensor | None,
        delta: float,
        dense: bool,
        most: int | None,
    ) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
        size = info.batch_size
        x, t, ids = folded(size, logits, targets, segments, in_dims)
        shape = (size, x.numel() // size)
        count = is_positive(t.view(shape)).sum(-1)
        if most is not None:
            check_room(count, most)
        out = op(x, t, ids, delta, True, None if most is None else most * size)
        rows = [e.view(shape) if dense else e.view(shape).sum(-1) for e in out[:errors]]
        if most is not None:
            rows = [spoilt(row, count > most) for row in rows]
        return (*rows, count.to(x.dtype), out[-1]), (*(0,) * (errors + 1), None)

    op.register_vmap(rule)


def fold_backward(op: Any, errors: int) -> None:
    """Register the rule of ``op(*cotangents, logits, targets, segments, state, *settings)``."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        logits, targets, segments, state, *settings = args[errors:]
        x, t, ids = folded(size, logits, targets, segments, in_dims[errors:])
        cotangents = []
        for g, dim in zip(args[:errors], in_dims, strict=False):
            rows = front(g, dim, size)
            rows = rows[:, None] if rows.dim() == 1 else rows
            cotangents.append(rows.expand(size, x.numel() // size).reshape(-1))
        found = op(*cotangents, x, t, ids, state, *settings)
        return found.view(size, x.numel() // size), 0

    op.register_vmap(rule)


def kept(**errors: Tensor) -> dict[str, Tensor]:
    """Return errors for a module to keep; none under ``vmap``, outside of which they are nothing.

    ``torch.compile`` knows the question by this name, though it is private.
    """
    if any(_functorch.is_batchedtensor(error) for error in errors.values()):
        return {}
    return {name: error.detach() for name, error in errors.items()}
