"""Leading dimensions of custom operators: flat for the kernels, one more under vmap."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["batched", "rows"]


def rows(x: Tensor, keep: int = 1) -> Tensor:
    """Flatten all but the last ``keep`` dimensions."""
    lead = 1
    for size in x.shape[: x.dim() - keep]:
        lead *= size
    return x.reshape(lead, *x.shape[x.dim() - keep :])


def batched(op: Callable[..., Any], outputs: int = 1) -> Callable[..., Any]:
    """Return the vmap rule of an operator whose tensors all carry the same leading dimensions."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        def front(arg: Any, dim: int | None) -> Any:
            if not isinstance(arg, Tensor):
                return arg
            if dim is None:
                return arg.expand(info.batch_size, *arg.shape)
            return arg.movedim(dim, 0)

        moved = [front(arg, dim) for arg, dim in zip(args, in_dims, strict=True)]
        return op(*moved), 0 if outputs == 1 else (0,) * outputs

    return rule
