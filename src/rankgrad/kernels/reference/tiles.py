"""Pair by pair without a matrix of all pairs: so many of them at once."""

__all__ = ["tiles"]

_PAIRS = 1 << 22  # evaluated at once


def tiles(n: int, others: int) -> list[slice]:
    """Cut ``range(n)``, each element of which meets so many ``others``, into slices."""
    step = max(1, _PAIRS // max(others, 1))
    return [slice(start, start + step) for start in range(0, n, step)]
