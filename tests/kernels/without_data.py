"""Modes that listen to what is done to tensors without data, which say that they are on a GPU."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Moved", "Unordered"]


def _tensors(*values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


class Moved(TorchDispatchMode):
    """Names the operations that bring numbers from one device to another, which wait for it.

    Single numbers of the CPU are no matter: they travel as arguments.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        taken = _tensors(args, kwargs)
        if "copy" not in name:
            taken = [x for x in taken if x.dim() > 0]
        if len({x.device.type for x in (*taken, *_tensors(out))}) > 1:
            self.found.append(name)
        return out


# What adds up on a GPU in the order in which threads come by, by PyTorch's own list. Names stand
# for what works in place, too.
UNORDERED = {
    "scatter_add", "scatter_reduce sum", "scatter_reduce mean", "scatter_reduce prod",
    "index_add", "index_put", "index_reduce mean", "index_reduce prod", "put", "bincount", "histc",
    "cumsum",
}  # fmt: skip

# What does so under ``torch.use_deterministic_algorithms``, too, or is refused by it.
UNORDERED_EVEN_SO = {
    "scatter_reduce prod", "scatter_reduce amax", "scatter_reduce amin", "index_reduce mean",
    "index_reduce prod", "put", "bincount", "histc", "kthvalue", "median", "nanmedian",
    "reflection_pad1d_backward", "nll_loss2d_forward", "logcumsumexp", "_logcumsumexp", "cumprod",
}  # fmt: skip

# Not on that list: they add up in no fixed order only where there is but a single row.
_OF_ONE_ROW = {"logcumsumexp", "_logcumsumexp", "cumprod"}


class Unordered(TorchDispatchMode):
    """Names the operations on floating-point numbers that may differ from run to run."""

    def __init__(self, names: set[str] = UNORDERED) -> None:
        super().__init__()
        self.names = names
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__.removesuffix("_")
        if name in ("scatter_reduce", "index_reduce"):
            name = f"{name} {args[4]}"
        floats = any(isinstance(arg, Tensor) and arg.is_floating_point() for arg in args)
        # It does not matter for places that are written once each.
        harmless = name == "index_put" and True not in args[3:]
        if name in _OF_ONE_ROW:
            harmless = args[0].numel() != args[0].shape[args[1]]
        if name in self.names and floats and not harmless:
            self.found.add(name)
        return func(*args, **(kwargs or {}))
