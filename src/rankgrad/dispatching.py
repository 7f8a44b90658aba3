"""Whether torch's dispatcher has anything to do with a call beside autograd.

It answers from names that torch keeps to itself. A version without one of them, or one whose keys
are others than here, has every call go through the dispatcher: slower on short rows, never wrong.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

__all__ = ["below_autograd", "straight"]

try:
    from torch._C import (
        _AutoDispatchBelowAutograd,
        _dispatch_keys,
        _dispatch_tls_local_include_set,
        _len_torch_function_stack,
    )
    from torch._C._autograd import _profiler_enabled
    from torch.autograd import forward_ad

    _level = forward_ad._current_level  # that of dual numbers, none: -1
    _KNOWN = _level == -1
except (ImportError, AttributeError):
    _KNOWN = False


def _bits(*names: str) -> int:
    """Return a set of dispatch keys as torch packs it into an integer."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
    for name in names:
        keys = keys.add(getattr(torch._C.DispatchKey, name))
    bits: int = keys.raw_repr()
    return bits


_NO_MODE = _bits("BackendSelect", "ADInplaceOrView")
_PLAIN = {
    _bits(device, "ADInplaceOrView", f"Autograd{device}", f"Autocast{device}")
    for device in ("CPU", "CUDA")
}


def straight(args: tuple[Any, ...]) -> bool:
    """Whether all that the dispatcher would do with a call is autograd.

    It does more while a graph is captured, under a mode, a transform of ``torch.func``, inference
    or the profiler, and with tensors that are more than numbers on a device.
    """
    if (
        not _KNOWN
        or torch.compiler.is_compiling()
        or _dispatch_tls_local_include_set().raw_repr() != _NO_MODE
        or _len_torch_function_stack() > 0
        or forward_ad._current_level >= 0
        or _profiler_enabled()
    ):
        return False
    for arg in args:
        if isinstance(arg, Tensor) and _dispatch_keys(arg).raw_repr() not in _PLAIN:
            return False
    return True


def below_autograd() -> AbstractContextManager[Any]:
    """Return a context in which operations are not recorded; only after a ``straight`` call."""
    guard: AbstractContextManager[Any] = _AutoDispatchBelowAutograd()
    return guard
