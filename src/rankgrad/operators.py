"""Custom PyTorch operators, defined once: what the whole library registers its kernels through."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

__all__ = ["Operator", "batched", "front", "operator", "rows"]

# A module-level handle: operators vanish when their library object is collected.
_LIBRARY = torch.library.Library("rankgrad", "FRAGMENT")


class Operator:
    """A registered operator: call it, and register its fake, its gradient and its vmap rule.

    ``torch.library.custom_op`` offers the same; but its first call imports ``torch._dynamo``
    (seconds, in every process and every data-loading worker), and each call looks for aliases
    between inputs and outputs. Ours are known to return new tensors.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = f"rankgrad::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        self._overload = getattr(torch.ops.rankgrad, name).default
        self._backward: Callable[..., Any] = self._refuse
        self._setup: Callable[..., None] = _save_nothing
        torch.library.register_autograd(
            self.name,
            lambda ctx, *gradients: self._backward(ctx, *gradients),
            setup_context=lambda ctx, inputs, output: self._setup(ctx, inputs, output),
            lib=_LIBRARY,
        )

    def __call__(self, *args: Any) -> Any:
        """Run the operator through the dispatcher."""
        return self._overload(*args)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Take the function that gives shapes and dtypes without data, for ``torch.compile``."""
        torch.library.register_fake(self.name, function, lib=_LIBRARY)
        return function

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[..., Any]
    ) -> None:
        """Take the gradient and what it saves for itself. Without one, backward is an error."""
        self._backward, self._setup = backward, setup_context

    def register_vmap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Take the batching rule of ``torch.func.vmap``."""
        torch.library.register_vmap(self.name, function, lib=_LIBRARY)
        return function

    def _refuse(self, ctx: Any, *gradients: Any) -> None:
        raise NotImplementedError(
            f"{self.name} has no gradient; rankgrad's operators have first derivatives only"
        )


def _save_nothing(ctx: Any, inputs: Any, output: Any) -> None:
    """Serve an operator without a gradient."""


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Register the decorated function as ``torch.ops.rankgrad.<name>``.

    The function takes tensors and plain values, returns new tensors (never views of its inputs)
    and does not change what it was given.
    """
    return lambda function: Operator(name, function)


@overload
def rows(x: Tensor, keep: int = 1) -> Tensor: ...
@overload
def rows(x: Tensor | None, keep: int = 1) -> Tensor | None: ...
def rows(x: Tensor | None, keep: int = 1) -> Tensor | None:
    """Flatten all but the last ``keep`` dimensions, for the kernels; None stays None."""
    if x is None:
        return None
    lead = x.dim() - keep
    return x.reshape(x.shape[:lead].numel(), *x.shape[lead:])


def front(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Return ``x`` with the dimension that vmap maps over in front; repeated if it has none."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def batched(op: Callable[..., Any], outputs: int = 1) -> Callable[..., Any]:
    """Return the vmap rule of an operator whose tensors all carry the same leading dimensions."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        moved = [
            front(arg, dim, info.batch_size) if isinstance(arg, Tensor) else arg
            for arg, dim in zip(args, in_dims, strict=True)
        ]
        return op(*moved), 0 if outputs == 1 else (0,) * outputs

    return rule
