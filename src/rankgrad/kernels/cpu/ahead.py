"""The false positives of every positive: all logits read once, no pairs built."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.compensated import plus
from rankgrad.kernels.cpu.grid import search
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.knots import Knots
from rankgrad.kernels.cpu.parallel import pieces, run
from rankgrad.kernels.cpu.sift import BLOCK, sift

__all__ = ["negatives_ahead"]

_GRAIN = 65536  # logits worth a thread of their own


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
    passes = np.empty(BLOCK, np.uint8)
    kept = np.empty(BLOCK + 1, np.int64)
    cell = np.empty(BLOCK, np.int64)
    over = np.empty(BLOCK)
    odd = np.empty(BLOCK + 1, np.int64)
    for block in range(first, last, BLOCK):
        stop = min(block + BLOCK, last)
        many = sift(
            logits, targets, groups, floors, low, rate, cells, block, stop, passes, kept, cell, over
        )
        odds = 0
        for i in range(many):
            c = cell[i]
            tally[c, 0] += 1.0
            tally[c, 1] += over[i]
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
            at = search(x, knots, np.int64(before[c]), np.int64(before[c + 1]))
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
                lever, lever_rest = plus(lever, lever_rest, -moment)
            if hi == lo:
                inside, lever, lever_rest, anchor = 0.0, 0.0, 0.0, x
                while lo > above:
                    lo -= 1
                    whole += number[bins + lo]
                hi = lo
            elif anchor - x > delta:
                lever, lever_rest = plus(lever, lever_rest, inside * (anchor - x))
                anchor = x
            while lo > below:
                lo -= 1
                n = number[bins + lo]
                inside += n
                moment = rest[bins + lo] + n * (knots[starts[g] + lo - 1] - anchor)
                lever, lever_rest = plus(lever, lever_rest, moment)
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
        groups: [n] int64, the segment of each logit in the numbering of ``starts`` or -1, never a
            segment without a positive; None if all are of segment 0.
        scores: [p] float64, the scores of the positives, ascending within each segment.
        starts: [segments + 1] int64, where each segment's positives start.
        delta: half width of the ramp, >= 0.
    """
    if groups is None and starts[1] == 0:
        return torch.zeros_like(scores)
    knots = Knots(scores, starts, delta, logits.shape[0])
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
