"""NeuralSort of one long row on several threads: each walks over a part of the matrix's rows.

The functions do what those of the same names in :mod:`rankgrad.kernels.cpu.neuralsort` do.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from rankgrad.kernels.cpu import neuralsort
from rankgrad.kernels.cpu.parallel import run

__all__ = [
    "LONG",
    "neuralsort_average",
    "neuralsort_average_vjp",
    "neuralsort_ranks",
    "neuralsort_ranks_vjp",
]

LONG = 4096  # scores that are worth several threads
_PARTS = 16  # however many threads there are, so that sums do not depend on them


def _parts(n: int) -> list[tuple[int, int]]:
    return list(pairwise(n * p // _PARTS for p in range(_PARTS + 1)))


def _column_sums(n: int, count: int, walk: Callable[..., tuple[int, int]], *given: Any) -> Any:
    """Return what the parts add to so many sums over the columns."""
    width = neuralsort.padded(n)
    sums = np.zeros((_PARTS, count, width))  # memory that no part reaches is never touched
    tasks = [partial(walk, *part, *given, *own) for part, own in zip(_parts(n), sums, strict=True)]
    whole = np.zeros((count, width))
    for own, (left, right) in zip(sums, run(tasks), strict=True):
        whole[:, left:right] += own[:, left:right]
    return whole


def neuralsort_ranks(
    y: Any, ahead: int, temperature: float, renormalize: bool, mass: Any, rank: Any
) -> None:
    """Write the sums of the columns and the ranks."""
    z, g = neuralsort.potentials(y, temperature)
    walk = partial(neuralsort.down, len(y), z, g)
    sums, places = _column_sums(len(y), 2, walk, ahead)
    neuralsort.put_ranks(renormalize, sums, places, mass, rank)


def _back(y: Any, temperature: float, a: Any, b: Any, c: Any, out: Any) -> Any:
    z, g = neuralsort.potentials(y, temperature)
    walk = partial(neuralsort.back, len(y), z, g)
    to_g, to_z, to_b = _column_sums(len(y), 3, walk, a, b, c)
    neuralsort.to_scores(y, to_g, to_z, temperature, out)
    return to_b[: len(y)]


def neuralsort_ranks_vjp(
    y: Any, ahead: int, temperature: float, renormalize: bool, grad: Any, mass: Any, rank: Any,
    out: Any,
) -> None:  # fmt: skip
    """Write the gradient of the scores for that of the ranks."""
    _back(y, temperature, *neuralsort.rank_gradient(ahead, renormalize, grad, mass, rank), out)


def neuralsort_average(y: Any, temperature: float, v: Any, out: Any) -> None:
    """Write the matrix times ``v``."""
    z, g = neuralsort.potentials(y, temperature)
    along, n = neuralsort.with_padding(v), len(y)
    run([partial(neuralsort.across, n, z, g, *part, along, out) for part in _parts(n)])


def neuralsort_average_vjp(
    y: Any, temperature: float, v: Any, grad: Any, out: Any, to_v: Any
) -> None:
    """Write the gradients of the scores and of ``v`` for that of the product."""
    along = neuralsort.with_padding(v)
    to_v[:] = _back(y, temperature, grad, along, np.zeros_like(along), out)
