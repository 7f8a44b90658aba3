"""Sums that do not lose what is too small beside their total."""

from typing import Any

from rankgrad.kernels.cpu.jit import jit

__all__ = ["plus"]


@jit()
def plus(total: Any, rest: Any, x: Any) -> Any:
    """Add ``x`` to the unevaluated sum ``total + rest`` without losing the rounding error."""
    new = total + x
    back = new - total
    return new, rest + ((total - (new - back)) + (x - back))
