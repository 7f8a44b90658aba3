"""NaN among sorted numbers: last, or first where the list was turned round."""

from typing import Any

from rankgrad.kernels.cpu.jit import jit

__all__ = ["holds_nan"]


@jit()
def holds_nan(x: Any, begin: Any, end: Any) -> Any:
    """Return whether a NaN is among the sorted ``x[begin:end]``."""
    return end > begin and (x[end - 1] != x[end - 1] or x[begin] != x[begin])
