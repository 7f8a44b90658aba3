"""Losses over the batch of many workers: gather what is ranked together, then go on as one."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from rankgrad.distributed import Group, all_gather, members

__all__ = ["Group", "gathered"]

P = ParamSpec("P")
T = TypeVar("T")


def gathered(
    *names: str,
    along: int | str,
    mask_shape: Callable[[torch.Size], torch.Size] = lambda shape: shape,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function that takes ``group`` gather its tensors and its ``mask`` first.

    Without a group, or alone in it, the call passes through.

    Args:
        names: the tensors that are spread over the workers along one dimension.
        along: that dimension, or the argument that says it.
        mask_shape: what the mask may be broadcast to, from the shape of the first tensor.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @wraps(function)
        def over_workers(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs.get("group") is None:
                return function(*args, **kwargs)
            call = signature.bind(*args, **kwargs)
            call.apply_defaults()
            given = call.arguments
            group, given["group"] = members(given["group"]), None
            if group is not None:
                first = given[names[0]]
                dim = given[along] if isinstance(along, str) else along
                dim = dim % max(first.dim(), 1)
                mask = given["mask"]
                for name in names:
                    given[name] = all_gather(given[name], group, dim)
                if isinstance(mask, Tensor):
                    shape = mask_shape(first.shape)
                    given["mask"] = all_gather(mask.expand(shape), group, dim)
            return function(*call.args, **call.kwargs)

        return over_workers

    return decorate
