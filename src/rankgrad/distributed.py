"""Collectives with the right gradients, so that a batch spread over workers ranks as one.

The gradient that ``DistributedDataParallel`` applies is the mean over workers of the gradients of
their losses. So the gradient of a gathered tensor is summed over the workers: if all of them
compute one loss of the whole batch, every parameter gets the gradient that one process with the
whole batch would give it.

All workers of a group must call the same losses in the same order, forward and backward. A worker
that dies, or leaves one out, leaves the others waiting until the timeout of the process group,
which surfaces as an error.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["Group", "all_gather", "all_sum", "members"]

Group = Any
"""None (this process alone), ``"world"`` (every process there is), or a process group."""


def members(group: Group) -> Any:
    """Return the process group to talk to, or None if there is nobody else in it.

    Without an initialised ``torch.distributed`` the world is this process.

    Raises:
        TypeError: ``group`` is none of None, "world" and a process group.
        ValueError: this process is not in the group.

    >>> members("world") is None
    True
    """
    if group is None:
        return None
    if not (group == "world" or (dist.is_available() and isinstance(group, dist.ProcessGroup))):
        raise TypeError(f"group must be None, 'world' or a torch process group, got {group!r}")
    if not (dist.is_available() and dist.is_initialized()):
        return None
    found = dist.group.WORLD if group == "world" else group
    if dist.get_rank(found) < 0:
        raise ValueError("group must hold this process, got a group of others")
    return found if dist.get_world_size(found) > 1 else None


def all_gather(x: Tensor, group: Group = "world", dim: int = 0) -> Tensor:
    """Return every worker's ``x`` concatenated along ``dim``, in the order of the workers.

    Shards may differ in length along ``dim``, and be empty. Gradients are summed over the workers,
    see the module. Communicates the sizes, then the shards padded to the longest; backward an
    all-reduce of the whole.

    Args:
        x: this worker's shard.
        group: None gives ``x`` back; see :data:`Group`.
        dim: the dimension along which shards are joined.

    Raises:
        ValueError: the shards differ in another dimension or in their number of dimensions. Every
            worker raises.

    >>> all_gather(torch.ones(2))
    tensor([1., 1.])
    """
    found = members(group)
    if found is None:
        return x
    gathered: Tensor = _Gather.apply(x.movedim(dim, 0), found)
    return gathered.movedim(0, dim)


def all_sum(x: Tensor, group: Group = "world") -> Tensor:
    """Return the sum of every worker's ``x``; gradients are summed over the workers too.

    >>> all_sum(torch.ones(2))
    tensor([1., 1.])
    """
    found = members(group)
    if found is None:
        return x
    total: Tensor = _Sum.apply(x, found)
    return total


def shapes(x: Tensor, group: Any) -> list[tuple[int, ...]]:
    """Return the shape of every worker's ``x``; raise on all of them if they cannot be joined."""
    limit = 8  # dimensions
    mine = torch.tensor([x.dim(), *x.shape, *[0] * (limit - x.dim())], device=x.device)
    table = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(table, mine, group=group)
    found = [tuple(row[1 : 1 + row[0]]) for row in torch.stack(table).tolist()]
    if any(len(shape) != x.dim() or shape[1:] != found[0][1:] for shape in found):
        raise ValueError(
            "the shards of the workers must agree in all dimensions but the gathered one, "
            f"got {', '.join(map(str, found))}"
        )
    return found


def gather_shards(x: Tensor, group: Any) -> list[Tensor]:
    """Return every worker's ``x``, which may differ in the first dimension; no gradient."""
    sizes = [shape[0] for shape in shapes(x, group)]
    longest = max(sizes)
    if longest == 0 or 0 in x.shape[1:]:
        return [x.new_empty((size, *x.shape[1:])) for size in sizes]
    sent = x.to(torch.uint8) if x.dtype == torch.bool else x
    padded = sent.new_zeros((longest, *x.shape[1:]))
    padded[: x.shape[0]] = sent.detach()
    received = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(received, padded, group=group)
    return [part[:size].to(x.dtype) for part, size in zip(received, sizes, strict=True)]


def gather_alike(x: Tensor, group: Any) -> list[Tensor]:
    """Return every worker's ``x``, which nobody checks to be of one shape; no gradient."""
    sent = x.detach().contiguous()
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    return received


def first_of(x: Tensor, group: Any) -> int:
    """Return where this worker's ``x`` starts among the rows that :func:`all_gather` joins."""
    return sum(shape[0] for shape in shapes(x, group)[: dist.get_rank(group)])


def sum_over(x: Tensor, group: Any) -> Tensor:
    """Return the sum of every worker's ``x``; no gradient. ``x`` is overwritten."""
    dist.all_reduce(x, group=group)
    return x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        parts = gather_shards(x, group)
        rank = dist.get_rank(group)
        ctx.group = group
        ctx.begin = sum(part.shape[0] for part in parts[:rank])
        ctx.length = x.shape[0]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = sum_over(grad.contiguous().clone(), ctx.group)
        return total[ctx.begin : ctx.begin + ctx.length].clone(), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return sum_over(x.detach().clone().contiguous(), group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_over(grad.contiguous().clone(), ctx.group), None
