"""The knots of the positives: where the ramps of a detection loss start and end.

A ramp of half width ``delta`` has two knots per positive, ``s - delta`` and ``s + delta``. Every
sum over positives is a straight line between neighbouring knots, and every sum over negatives can
be read off, per gap between knots, their number and the sum of their scores. So negatives go into
bins, and a positive reads its false positives off the bins within its reach (:mod:`.ahead`); the
other way round, a negative evaluates the line of its bin (:mod:`.spread`).
"""

from typing import Any

import numpy as np
from torch import Tensor

from rankgrad.kernels.cpu.grid import Grid
from rankgrad.kernels.cpu.jit import jit

__all__ = ["Knots"]


@jit()
def _merge_knots(
    scores: Any, starts: Any, delta: Any, knots: Any, enters: Any, leaves: Any
) -> None:
    """Merge ``s - delta`` and ``s + delta`` of each segment; say where each positive's are.

    ``enters`` and ``leaves`` hold the places of a positive's two knots within ``knots``. With
    ``delta`` 0 there is one knot a positive.
    """
    for g in range(starts.shape[0] - 1):
        a, b = starts[g], starts[g + 1]
        if delta == 0:
            for i in range(a, b):
                knots[i] = scores[i]
                enters[i] = leaves[i] = i
            continue
        low, high, at = a, a, 2 * a
        while high < b:
            if low < b and scores[low] - delta <= scores[high] + delta:
                knots[at] = scores[low] - delta
                enters[low] = at
                low += 1
            else:
                knots[at] = scores[high] + delta
                leaves[high] = at
                high += 1
            at += 1


class Knots:
    """The knots of the positives, sorted by segment and score, and the grid over them."""

    def __init__(self, scores: Tensor, starts: Tensor, delta: float, logits: int) -> None:
        # A NaN comes last in its segment, which is lost anyway; as +inf it keeps the order.
        self.nans = scores.isnan().numpy()
        self.scores = np.where(self.nans, np.inf, scores.numpy())
        self.positives = starts.numpy()
        self.delta = delta
        per_positive = 2 if delta > 0 else 1
        self.starts = self.positives * per_positive
        self.knots = np.empty(self.starts[-1])
        self.enters = np.empty(self.scores.shape[0], np.int64)
        self.leaves = np.empty(self.scores.shape[0], np.int64)
        _merge_knots(self.scores, self.positives, delta, self.knots, self.enters, self.leaves)
        # A segment without a positive has no floor: nobody asks for it, but segment 0.
        first = np.minimum(self.starts[:-1], self.starts[-1] - 1)
        self.floors = np.where(np.diff(self.starts) > 0, self.knots[first], np.inf)
        grid = Grid(self.knots, self.starts, logits)
        self.lookup = (
            self.floors, self.knots, self.starts, grid.low, grid.rate, grid.cells, grid.before,
            grid.mixed,
        )  # fmt: skip

    def whole_ties(self, x: Any, t: Any, ids: Any) -> tuple[Any, Any, Any]:
        """Find the negatives that tie with a positive whose two knots fell into one.

        Where ``s +- delta`` rounds to ``s`` (infinite or huge scores) the bins count ties whole,
        not half. Ties are numbered by segment and score.

        Returns:
            The places of these negatives, their ties, and the tie of each positive or -1.
        """
        s, none = self.scores, np.empty(0, np.int64)
        tie = np.full(s.shape[0], -1)
        same = (s + self.delta == s) & (s - self.delta == s)
        if self.delta == 0 or not same.any():
            return none, none, tie
        segment = np.searchsorted(self.positives, np.flatnonzero(same), side="right") - 1
        values, value = np.unique(s[same], return_inverse=True)
        codes, tie[same] = np.unique(segment * values.size + value, return_inverse=True)
        places = np.flatnonzero((t == 0) & np.isin(x, values))
        if ids is not None:
            places = places[ids[places] >= 0]
        code = np.searchsorted(values, x[places])
        if ids is not None:
            code += ids[places] * values.size
        at = np.minimum(np.searchsorted(codes, code), codes.size - 1)
        return places[codes[at] == code], at[codes[at] == code], tie
