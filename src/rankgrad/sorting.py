"""Stable sorting of the last dimension, fast on the CPU and differentiable in the values."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import check_rows
from rankgrad.operators import batched, operator, rows, shaped

__all__ = ["argsort", "sort"]


@operator("argsort")
def _argsort(x: Tensor, descending: bool) -> Tensor:
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    order: Tensor = kernels.implementation("argsort", x.device)(rows(wide), descending)
    return shaped(order, x.shape)


@_argsort.register_fake
def _(x: Tensor, descending: bool) -> Tensor:
    return torch.empty(x.shape, dtype=torch.int64, device=x.device)


_argsort.register_vmap(batched(_argsort))


def argsort(
    scores: Float[Tensor, "*batch n"], dim: int = -1, *, descending: bool = True
) -> Int64[Tensor, "*batch n"]:
    """Return the positions that sort ``scores`` along ``dim``; equal values keep their order.

    On the CPU a radix sort, 4 to 8 times faster than ``torch.argsort`` on long rows. NaN counts
    as larger than every number, as in PyTorch.

    Args:
        scores: floating point tensor with at least one dimension.
        dim: the dimension to sort along.
        descending: largest first (the default, since rank 1 is the largest score).

    Raises:
        TypeError: ``scores`` is not a floating point tensor.

    >>> argsort(torch.tensor([0.1, 0.7, 0.4]))
    tensor([1, 2, 0])
    """
    check_rows("scores", scores)
    x, last = scores.detach(), dim in (-1, scores.dim() - 1)
    if _few(x, dim):
        return torch.argsort(x, dim=dim, descending=descending, stable=True)
    # Even a view that changes nothing takes a microsecond.
    order: Tensor = _argsort(x if last else x.movedim(dim, -1), descending)
    return order if last else order.movedim(-1, dim)


def sort(
    scores: Float[Tensor, "*batch n"], dim: int = -1, *, descending: bool = True
) -> tuple[Float[Tensor, "*batch n"], Int64[Tensor, "*batch n"]]:
    """Return the sorted ``scores`` along ``dim``, with gradient, and the positions they came from.

    >>> values, order = sort(torch.tensor([0.1, 0.7, 0.4]))
    >>> values, order
    (tensor([0.7000, 0.4000, 0.1000]), tensor([1, 2, 0]))
    """
    check_rows("scores", scores)
    if _few(scores, dim):
        values, order = torch.sort(scores, dim=dim, descending=descending, stable=True)
        return values, order
    order = argsort(scores, dim, descending=descending)
    return scores.gather(dim, order), order


def _few(x: Tensor, dim: int) -> bool:
    """Whether torch has sorted the scores before a kernel of ours is called."""
    return x.device.type == "cpu" and x.shape[dim] <= 128 and x.numel() <= 2048


def valid_first(mask: Bool[Tensor, "*batch n"]) -> Int64[Tensor, "*batch n"]:
    """Return the positions that bring the valid entries of each row to the front, in their order.

    >>> valid_first(torch.tensor([False, True, False, True]))
    tensor([1, 3, 0, 2])
    """
    inside, outside = mask.cumsum(-1), (~mask).cumsum(-1)
    to = torch.where(mask, inside, inside[..., -1:] + outside) - 1
    place = torch.arange(mask.shape[-1], device=mask.device).expand(mask.shape)
    return torch.zeros_like(to).scatter(-1, to, place)
