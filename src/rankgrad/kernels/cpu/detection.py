"""The passes of the detection losses over all logits: one reads, one writes, neither builds pairs.

A ramp of half width ``delta`` has two knots per positive, ``s - delta`` and ``s + delta``. Every
sum over positives is a straight line between neighbouring knots, and every sum over negatives can
be read off, per gap between knots, their number and the sum of their scores. So negatives go into
bins, and a positive reads its false positives off the bins within its reach; the other way round,
a negative evaluates the line of its bin.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.ramp import _plus

__all__ = ["find_positives", "negatives_ahead", "spread_to_negatives"]

_GRAIN = 65536  # logits worth a thread of their own
_BLOCK = 2048  # logits sifted at once; what passes stays in the first-level cache
_PEEK = 128  # targets looked at together: positives are rare
_CELLS = 8  # grid cells a knot, fewer where there are few logits for each: cells are memory


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


@jit()
def _cell(x: Any, low: Any, rate: Any, cells: Any) -> Any:
    z = min(max((x - low) * rate, 0.0), cells - 1.0)
    return np.int32(z if z == z else 0.0)


@jit()
def _fill_cells(
    knots: Any, starts: Any, cell_starts: Any, low: Any, rate: Any, before: Any, mixed: Any
) -> None:
    """Lay a grid over each segment's knots, and say what lies before and inside each cell."""
    for g in range(low.shape[0]):
        a, b = starts[g], starts[g + 1]
        cells = cell_starts[g + 1] - cell_starts[g] - 1
        first, last = a, b - 1
        while first < last and np.isinf(knots[first]):
            first += 1
        while last > first and np.isinf(knots[last]):
            last -= 1
        low[g] = knots[first] if b > a and np.isfinite(knots[first]) else 0.0
        width = knots[last] - low[g] if b > a and np.isfinite(knots[last]) else 0.0
        # One cell stays free above the last knot: most of what lies there is far above it.
        rate[g] = (cells - 2) / width if width > 0 else 0.0
        if not np.isfinite(rate[g]):
            rate[g] = 0.0
        at = a
        for c in range(cells):
            begin = at
            while at < b and _cell(knots[at], low[g], rate[g], cells) <= c:
                at += 1
            before[cell_starts[g] + c] = begin
            mixed[cell_starts[g] + c] = at > begin
        before[cell_starts[g] + cells] = at


class _Grid:
    """A lookup from a score to its bin: how many knots of its segment lie at or below it.

    The range of the knots is cut into equal cells. Scores of a cell without a knot share a bin, so
    that their cell says all; in a mixed cell the knots are searched.

    Attributes:
        low, rate: [segments] the cell of ``x`` is ``(x - low) * rate``, cut to the cells there are.
        cells: [segments + 1] where the cells of each segment start.
        before: [cells] the knots before each cell, counted over all segments.
        mixed: [cells] whether a knot lies in the cell.
    """

    def __init__(self, knots: Any, starts: Any, logits: int) -> None:
        segments = starts.shape[0] - 1
        per_knot = min(_CELLS, max(1, logits // (4 * max(knots.shape[0], 1))))
        self.cells = np.concatenate(([0], np.cumsum(np.diff(starts) * per_knot + 4)))
        self.low = np.empty(segments)
        self.rate = np.empty(segments)
        self.before = np.empty(self.cells[-1], np.int32)
        self.mixed = np.zeros(self.cells[-1], np.bool_)
        _fill_cells(knots, starts, self.cells, self.low, self.rate, self.before, self.mixed)


@jit()
def _mark(x: Any, t: Any, floor: Any, passes: Any) -> None:
    for i in range(x.shape[0]):  # a loop over plain slices: it runs in vectors
        passes[i] = (t[i] == 0) & (not x[i] < floor)


@jit()
def _sift(
    logits: Any, targets: Any, groups: Any, floors: Any, low: Any, rate: Any, cells: Any,
    first: Any, last: Any, passes: Any, kept: Any, cell: Any,
) -> Any:  # fmt: skip
    """Write the places of the negatives that reach a positive, and their cells; return how many.

    A NaN passes, so that it is noticed. ``groups`` is the segment of each logit, negative for
    those without a positive, or None.
    """
    if groups is None:
        floor = type(logits[0])(floors[0])
        if floor > floors[0]:  # rounded up: let one more pass rather than lose it
            floor = np.nextafter(floor, type(floor)(-np.inf))
        _mark(logits[first:last], targets[first:last], floor, passes)
    else:
        for i in range(last - first):
            g = groups[first + i]
            passes[i] = (
                (g >= 0) & (targets[first + i] == 0) & (not logits[first + i] < floors[max(g, 0)])
            )
    count = 0
    for i in range(last - first):
        kept[count] = first + i
        count += passes[i]
    for i in range(count):
        g = 0 if groups is None else groups[kept[i]]
        x = np.float64(logits[kept[i]])
        cell[i] = _cell(x, low[g], rate[g], cells[g + 1] - cells[g] - 1) + cells[g]
    return count


@jit()
def _search(x: Any, knots: Any, begin: Any, end: Any) -> Any:
    """Return the first place in ``begin .. end`` whose knot lies above ``x``."""
    while begin < end:
        middle = (begin + end) >> 1
        if knots[middle] <= x:
            begin = middle + 1
        else:
            end = middle
    return begin


@jit()
def _count(
    logits: Any, targets: Any, groups: Any, floors: Any, knots: Any, starts: Any,
    low: Any, rate: Any, cells: Any, before: Any, mixed: Any, first: Any, last: Any,
    number: Any, rest: Any, broken: Any,
) -> None:  # fmt: skip
    """Add the negatives ``first .. last`` to their bins.

    ``number`` counts them; ``rest`` sums by how much they exceed the lower knot of their bin.
    Segment ``g`` has one bin more than knots, so that its bins start at ``starts[g] + g``. All
    scores are added to their cell; those of mixed cells are then looked at one by one.
    """
    tally = np.zeros((cells[-1], 2))  # number, and sum of the scores above the cell's lower edge
    passes = np.empty(_BLOCK, np.uint8)
    kept = np.empty(_BLOCK + 1, np.int64)
    cell = np.empty(_BLOCK, np.int64)
    odd = np.empty(_BLOCK + 1, np.int64)
    for block in range(first, last, _BLOCK):
        stop = min(block + _BLOCK, last)
        many = _sift(
            logits, targets, groups, floors, low, rate, cells, block, stop, passes, kept, cell
        )
        odds = 0
        for i in range(many):
            c = cell[i]
            g = 0 if groups is None else groups[kept[i]]
            tally[c, 0] += 1.0
            tally[c, 1] += (logits[kept[i]] - low[g]) * rate[g] - (c - cells[g])
            odd[odds] = i
            odds += mixed[c]
        for k in range(odds):
            i = odd[k]
            x = np.float64(logits[kept[i]])
            g = 0 if groups is None else groups[kept[i]]
            if x != x:
                broken[g] = True
                continue
            c = cell[i]
            at = _search(x, knots, np.int64(before[c]), np.int64(before[c + 1]))
            number[at + g] += 1.0
            rest[at + g] += x - knots[max(at - 1, starts[g])]
    for g in range(low.shape[0]):
        for c in range(cells[g], cells[g + 1] - 1):
            if not mixed[c] and tally[c, 0] > 0:
                at = np.int64(before[c])
                number[at + g] += tally[c, 0]
                # from the knot to the cell's lower edge, and from there to the scores
                rest[at + g] += tally[c, 0] * (low[g] - knots[max(at - 1, starts[g])])
                if rate[g] > 0:
                    rest[at + g] += (tally[c, 0] * (c - cells[g]) + tally[c, 1]) / rate[g]


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


class _Knots:
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
        self.floors = self.knots[self.starts[:-1]]
        grid = _Grid(self.knots, self.starts, logits)
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


@jit()
def _read_bins(
    scores: Any, positives: Any, knots: Any, starts: Any, enters: Any, leaves: Any, delta: Any,
    number: Any, rest: Any, broken: Any, out: Any,
) -> None:  # fmt: skip
    """Write the false positives of every positive: whole bins above its reach, sloped ones inside.

    Bin ``b`` of a segment lies above the segment's knot ``b - 1``.
    """
    for g in range(positives.shape[0] - 1):
        bins = starts[g] + g  # where the segment's bins start
        whole = 0.0
        inside, lever, lever_rest, anchor = 0.0, 0.0, 0.0, 0.0
        hi = lo = starts[g + 1] - starts[g] + 1  # bins lo .. hi are within reach, hi .. above
        for i in range(positives[g + 1] - 1, positives[g] - 1, -1):
            x = scores[i]
            if broken[g]:
                out[i] = np.nan
                continue
            above = leaves[i] - starts[g] + 1
            below = enters[i] - starts[g] + 1
            while hi > lo and hi > above:
                hi -= 1
                n = number[bins + hi]
                whole += n
                inside -= n
                moment = rest[bins + hi] + n * (knots[starts[g] + hi - 1] - anchor)
                lever, lever_rest = _plus(lever, lever_rest, -moment)
            if hi == lo:
                inside, lever, lever_rest, anchor = 0.0, 0.0, 0.0, x
                while lo > above:
                    lo -= 1
                    whole += number[bins + lo]
                hi = lo
            elif anchor - x > delta:
                lever, lever_rest = _plus(lever, lever_rest, inside * (anchor - x))
                anchor = x
            while lo > below:
                lo -= 1
                n = number[bins + lo]
                inside += n
                moment = rest[bins + lo] + n * (knots[starts[g] + lo - 1] - anchor)
                lever, lever_rest = _plus(lever, lever_rest, moment)
            if inside > 0:
                rise = ((lever + lever_rest) + inside * (anchor - x)) / (2.0 * delta)
                out[i] = whole + (rise + 0.5 * inside)
            else:
                out[i] = whole


def negatives_ahead(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
) -> Tensor:
    """Return, for every positive, the negatives ahead of it: ``sum_j H(x_j - s_i)``.

    ``H`` is the ramp of half width ``delta``; with ``delta`` 0 the step that counts ties whole.

    Args:
        logits: [n], float32 or float64.
        targets: [n], 0 for negatives.
        groups: [n] int64, the segment of each logit in the numbering of ``starts`` or -1.
        scores: [p] float64, the scores of the positives, ascending within each segment.
        starts: [segments + 1] int64, where each segment's positives start.
        delta: half width of the ramp, >= 0.
    """
    knots = _Knots(scores, starts, delta, logits.shape[0])
    x, t = logits.numpy(), targets.numpy()
    ids = None if groups is None else groups.numpy()
    segments = starts.shape[0] - 1

    def part(first: int, last: int) -> tuple[Any, Any, Any]:
        number = np.zeros(knots.knots.shape[0] + segments)
        rest = np.zeros(number.shape[0])
        broken = np.zeros(segments, np.bool_)
        _count(x, t, ids, *knots.lookup, first, last, number, rest, broken)
        return number, rest, broken

    parts = run([partial(part, a, b) for a, b in pieces(x.shape[0], _GRAIN)])
    number, rest, broken = parts[0]
    for other in parts[1:]:
        number += other[0]
        rest += other[1]
        broken |= other[2]
    out = np.empty(knots.scores.shape[0])
    _read_bins(
        knots.scores, knots.positives, knots.knots, knots.starts, knots.enters, knots.leaves, delta,
        number, rest, broken, out,
    )  # fmt: skip
    _, ties, tie = knots.whole_ties(x, t, ids)
    out -= 0.5 * np.append(np.bincount(ties, minlength=tie.max() + 1), 0)[tie]
    out[knots.nans] = np.nan
    return torch.from_numpy(out)


@jit()
def _profile(
    scores: Any, positives: Any, knots: Any, starts: Any, enters: Any, coef: Any, delta: Any,
    owner: Any, base: Any, level: Any, tilt: Any,
) -> None:  # fmt: skip
    """Write ``sum_i coef_i H(x - s_i)`` by bin: its value at the lower knot ``base``, its slope."""
    for g in range(positives.shape[0] - 1):
        whole, whole_rest = 0.0, 0.0
        inside, inside_rest = 0.0, 0.0
        lever, lever_rest = 0.0, 0.0
        open_ramps = 0
        for at in range(starts[g], starts[g + 1]):
            i = owner[at]
            c = coef[i]
            b = at + g + 1
            base[b] = knots[at] if np.isfinite(knots[at]) else 0.0
            if delta == 0:
                whole, whole_rest = _plus(whole, whole_rest, c)
                level[b], tilt[b] = whole + whole_rest, 0.0
                continue
            if open_ramps > 0:
                gap = knots[at] - knots[at - 1] if np.isfinite(knots[at]) else 0.0
                lever, lever_rest = _plus(lever, lever_rest, inside * gap)
                lever_rest += inside_rest * gap
            step = knots[at] - scores[i] if np.isfinite(knots[at]) else 0.0  # +-delta, rounded
            if enters[i] == at:
                open_ramps += 1
                inside, inside_rest = _plus(inside, inside_rest, c)
                lever, lever_rest = _plus(lever, lever_rest, c * step)
            else:
                open_ramps -= 1
                whole, whole_rest = _plus(whole, whole_rest, c)
                inside, inside_rest = _plus(inside, inside_rest, -c)
                lever, lever_rest = _plus(lever, lever_rest, -c * step)
                if open_ramps == 0:
                    inside, inside_rest, lever, lever_rest = 0.0, 0.0, 0.0, 0.0
            density = inside + inside_rest
            level[b] = whole + (whole_rest + ((lever + lever_rest) / (2.0 * delta) + 0.5 * density))
            tilt[b] = density / (2.0 * delta)


@jit()
def _evaluate(
    logits: Any, targets: Any, groups: Any, floors: Any, knots: Any, starts: Any,
    low: Any, rate: Any, cells: Any, before: Any, mixed: Any, base: Any, level: Any, tilt: Any,
    first: Any, last: Any, out: Any,
) -> None:  # fmt: skip
    passes = np.empty(_BLOCK, np.uint8)
    kept = np.empty(_BLOCK + 1, np.int64)
    cell = np.empty(_BLOCK, np.int64)
    odd = np.empty(_BLOCK + 1, np.int64)
    for block in range(first, last, _BLOCK):
        stop = min(block + _BLOCK, last)
        out[block:stop] = 0.0
        many = _sift(
            logits, targets, groups, floors, low, rate, cells, block, stop, passes, kept, cell
        )
        odds = 0
        for i in range(many):
            j, c = kept[i], cell[i]
            g = 0 if groups is None else groups[j]
            at = np.int64(before[c])
            x = np.float64(logits[j])
            out[j] = level[at + g] + tilt[at + g] * (x - base[at + g])
            odd[odds] = i
            odds += mixed[c] | (x - x != 0.0)  # infinite or NaN
        for k in range(odds):
            j, c = kept[odd[k]], cell[odd[k]]
            x = np.float64(logits[j])
            g = 0 if groups is None else groups[j]
            at = _search(x, knots, np.int64(before[c]), np.int64(before[c + 1]))
            if x != x:
                out[j] = np.nan
            elif np.isinf(x):
                out[j] = level[at + g]
            else:
                out[j] = level[at + g] + tilt[at + g] * (x - base[at + g])


def spread_to_negatives(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
    coef: Tensor,
) -> Tensor:
    """Return, for every negative, ``sum_i coef_i H(x_j - s_i)`` over positives; 0 elsewhere.

    Arguments as in :func:`negatives_ahead`; ``coef`` is [p] float64.
    """
    knots = _Knots(scores, starts, delta, logits.shape[0])
    segments = starts.shape[0] - 1
    owner = np.empty(knots.knots.shape[0], np.int64)
    owner[knots.enters] = owner[knots.leaves] = np.arange(knots.scores.shape[0])
    base, level, tilt = np.zeros((3, knots.knots.shape[0] + segments))
    _profile(
        knots.scores, knots.positives, knots.knots, knots.starts, knots.enters, coef.numpy(), delta,
        owner, base, level, tilt,
    )  # fmt: skip
    x, t = logits.numpy(), targets.numpy()
    ids = None if groups is None else groups.numpy()
    out = np.empty_like(x)
    run(
        [
            partial(_evaluate, x, t, ids, *knots.lookup, base, level, tilt, a, b, out)
            for a, b in pieces(x.shape[0], _GRAIN)
        ]
    )
    places, ties, tie = knots.whole_ties(x, t, ids)
    out[places] -= 0.5 * np.bincount(tie[tie >= 0], coef.numpy()[tie >= 0])[ties]
    return torch.from_numpy(out)
