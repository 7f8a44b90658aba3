"""Custom PyTorch operators, defined once: what the whole library registers its kernels through."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from rankgrad.dispatching import below_autograd, straight

__all__ = ["Operator", "batched", "front", "operator", "rows", "shaped"]

# A module-level handle: operators vanish when their library object is collected.
_LIBRARY = torch.library.Library("rankgrad", "FRAGMENT")

_unsafe_view = torch.ops.aten._unsafe_view.default


class Operator:
    """A registered operator: call it, and register its fake, its gradient and its vmap rule.

    ``torch.library.custom_op`` offers the same; but its first call imports ``torch._dynamo``
    (seconds, in every process and every data-loading worker), and each call looks for aliases
    between inputs and outputs. Ours are known to return new tensors.

    The dispatcher takes longer to call a function in Python than many of ours take on short rows.
    Where it has nothing to add, they are called without it.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = f"rankgrad::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        self._overload = getattr(torch.ops.rankgrad, name).default
        self._function = function
        # No operator takes lists of tensors, through which torch.autograd.Function does not see.
        kinds = [argument.type.kind() for argument in self._overload._schema.arguments]
        self._arity = len(kinds)
        self._numbers = [at for at, kind in enumerate(kinds) if kind == "FloatType"]
        self._backward: Callable[..., Any] = self._refuse
        self._setup: Callable[..., None] = _save_nothing
        torch.library.register_autograd(
            self.name,
            lambda ctx, *gradients: self._backward(ctx, *gradients),
            setup_context=lambda ctx, inputs, output: self._setup(ctx, inputs, output),
            lib=_LIBRARY,
        )
        self._differentiated = self._autograd_function()

    def __call__(self, *args: Any) -> Any:
        """Run the operator."""
        if len(args) != self._arity or not straight(args):
            return self._overload(*args)
        for at in self._numbers:
            if type(args[at]) is not float:
                return self._overload(*args)  # which converts
        if torch.is_grad_enabled():
            for arg in args:
                if isinstance(arg, Tensor) and arg.requires_grad:
                    return self._differentiated(*args)
        with below_autograd():
            return self._function(*args)

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

    def _autograd_function(self) -> Any:
        """Return what :func:`torch.library.register_autograd` makes of it, for a straight call."""

        def forward(ctx: Any, *args: Any) -> Any:
            with below_autograd():
                output = self._function(*args)
                self._setup(ctx, args, output)
            return output

        def backward(ctx: Any, *gradients: Any) -> Any:
            return self._backward(ctx, *gradients)

        body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        function = type(self.name.replace("::", "_"), (torch.autograd.Function,), body)
        # Function.apply looks for transforms of torch.func, which do not get here, and calls this.
        return super(torch.autograd.Function, function).apply  # type: ignore[misc]  # made above

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
    # Even a view that changes nothing takes a microsecond or two.
    return x if lead == 1 else x.reshape(x.shape[:lead].numel(), *x.shape[lead:])


def shaped(x: Tensor, shape: torch.Size) -> Tensor:
    """Give back the leading dimensions that :func:`rows` flattened, for a result of a kernel.

    What torch knows to be a view may not be changed in place where it comes out of an operator.
    """
    if x.shape == shape:
        return x
    result: Tensor = _unsafe_view(x, shape)
    return result


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
