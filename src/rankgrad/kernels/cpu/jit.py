"""The compiler of the CPU kernels: numba without the GIL, cached on disk where that is possible."""

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["jit"]


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile on first use, without the GIL; cache if any place is writable.

    numba looks for a cache beside the source, then in the user's cache folder; where neither can
    be written (a read-only container without a home) it would refuse to compile at all.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return decorate
