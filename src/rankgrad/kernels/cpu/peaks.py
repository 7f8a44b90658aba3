"""The peak of a row of a matrix with one peak a row, from that of the row before."""

from typing import Any

from rankgrad.kernels.cpu.jit import jit

__all__ = ["climb"]


@jit(forceinline=True)
def climb(slope: Any, x: Any, g: Any, n: Any, peak: Any) -> Any:
    """Return where ``slope x_j + g_j`` is largest for ``j < n``, and its value.

    It rises to its peak and falls behind; the steps go up from ``peak``, of equal ones to the last.
    """
    top = slope * x[peak] + g[peak]
    while peak + 1 < n and slope * x[peak + 1] + g[peak + 1] >= top:
        peak += 1
        top = slope * x[peak] + g[peak]
    while peak > 0 and slope * x[peak - 1] + g[peak - 1] > top:
        peak -= 1
        top = slope * x[peak] + g[peak]
    return peak, top
