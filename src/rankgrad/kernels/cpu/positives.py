"""Finding the positives among all logits: one pass over the targets."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run

__all__ = ["find_at_most", "find_positives"]

_GRAIN = 65536  # logits worth a thread of their own
_PEEK = 128  # targets looked at together: positives are rare


@jit(fastmath={"reassoc"})
def _holds_positive(t: Any) -> Any:
    """Return whether a value is above 0 or NaN; without a branch, so that it runs in vectors."""
    hits = 0
    for j in range(t.shape[0]):
        hits += not t[j] <= 0
    return hits > 0


@jit()
def _collect(targets: Any, exact_one: Any, first: Any, last: Any, found: Any) -> Any:
    """Write the places of the positives into ``found``; return how many and whether a NaN came."""
    count = 0
    broken = False
    for block in range(first, last, _PEEK):
        stop = min(block + _PEEK, last)
        if not _holds_positive(targets[block:stop]):
            continue
        for j in range(block, stop):
            t = targets[j]
            if t > 0 and (not exact_one or t == 1):
                if count < found.shape[0]:
                    found[count] = j
                count += 1
            broken |= t != t
    return count, broken


def find_positives(targets: Tensor, exact_one: bool) -> tuple[Tensor, bool]:
    """Return the places of the positives in ``targets`` [n], and whether a target is NaN.

    Positive means 1 if ``exact_one``, else above 0.
    """
    t = targets.numpy()

    def part(first: int, last: int) -> tuple[Any, bool]:
        found = np.empty(min(last - first, max(1024, (last - first) // 64)), np.int64)
        count, broken = _collect(t, exact_one, first, last, found)
        if count > found.shape[0]:  # more than one in 64: look again with room for all
            found = np.empty(count, np.int64)
            _collect(t, exact_one, first, last, found)
        return found[:count], broken

    parts = run([partial(part, a, b) for a, b in pieces(t.shape[0], _GRAIN)])
    index = np.concatenate([found for found, _ in parts])
    return torch.from_numpy(index), any(broken for _, broken in parts)


def find_at_most(targets: Tensor, exact_one: bool, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the positives, how many there are, and whether a target is NaN.

    Of the places there are ``most``, -1 behind the last positive.
    """
    index, broken = find_positives(targets, exact_one)
    places = torch.full((most,), -1)
    places[: index.shape[0]] = index[:most]
    return places, torch.tensor(index.shape[0]), torch.tensor(broken)
