"""The comparators of sorting networks in closed form: whole networks are too large to keep."""

from typing import Any

import numpy as np

from rankgrad.kernels.cpu.jit import jit

__all__ = ["Wires"]

_CODES = {"odd_even": 0, "bitonic": 1, "alternating": 2}


@jit()
def _fill(
    kind: Any, levels: Any, steps: Any, missing: Any, starts: Any, low: Any, high: Any
) -> None:
    """Write the wires of the comparators of some layers, where ``starts`` says."""
    for layer in range(levels.size):
        at, many = starts[layer], starts[layer + 1] - starts[layer]
        if kind == 0:
            for k in range(many):
                low[at + k] = 2 * k + steps[layer]
                high[at + k] = low[at + k] + 1
            continue
        step, level = steps[layer], levels[layer]
        half = 1 << (step - 1)
        turned = kind == 1 and step == level
        # The wires that are missing come first, and so do the comparators that touch one.
        block, inside = missing >> step, missing & (2 * half - 1)
        absent = block * half + min(inside, half)
        for k in range(many):
            q = absent + k
            start, place = (q >> (step - 1)) << step, q & (half - 1)
            a = start + place - missing
            b = (start + 2 * half - 1 - place if turned else start + place + half) - missing
            down = kind == 2 and ((start + place) >> level) & 1 == 1
            low[at + k] = b if down else a
            high[at + k] = a if down else b


class Wires:
    """The network of a kind over ``n`` wires, as ``comparators`` of the reference has it.

    Attributes:
        starts: [layers + 1] how many comparators come before each layer.
    """

    def __init__(self, kind: str, n: int) -> None:
        self._kind = _CODES[kind]
        if kind == "odd_even":
            self._steps = np.arange(n if n > 1 else 0) % 2
            self._levels = np.zeros_like(self._steps)
            self._missing = 0
            sizes = (n - self._steps) // 2
        else:
            depth = max(n - 1, 0).bit_length()
            rounds = [
                (level, step) for level in range(1, depth + 1) for step in range(level, 0, -1)
            ]
            self._levels, self._steps = np.array(rounds, np.int64).reshape(-1, 2).T.copy()
            self._missing = 2**depth - n
            half = 2 ** (self._steps - 1)
            inside = np.minimum(self._missing & (2 * half - 1), half)
            sizes = 2**depth // 2 - ((self._missing >> self._steps) * half + inside)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def of(self, first: int, last: int) -> tuple[Any, Any]:
        """Return the wires of the minima and of the maxima of the layers ``first .. last``."""
        starts = self.starts[first : last + 1] - self.starts[first]
        low, high = np.empty((2, int(starts[-1])), np.int32)
        layers = slice(first, last)
        _fill(
            self._kind, self._levels[layers], self._steps[layers], self._missing, starts, low, high
        )
        return low, high
