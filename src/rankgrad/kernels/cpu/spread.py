"""The gradient of the detection losses at the negatives: all logits read, and written, once."""

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

__all__ = ["spread_to_negatives"]

_GRAIN = 65536  # logits worth a thread of their own


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
                whole, whole_rest = plus(whole, whole_rest, c)
                level[b], tilt[b] = whole + whole_rest, 0.0
                continue
            if open_ramps > 0:
                gap = knots[at] - knots[at - 1] if np.isfinite(knots[at]) else 0.0
                lever, lever_rest = plus(lever, lever_rest, inside * gap)
                lever_rest += inside_rest * gap
            step = knots[at] - scores[i] if np.isfinite(knots[at]) else 0.0  # +-delta, rounded
            if enters[i] == at:
                open_ramps += 1
                inside, inside_rest = plus(inside, inside_rest, c)
                lever, lever_rest = plus(lever, lever_rest, c * step)
            else:
                open_ramps -= 1
                whole, whole_rest = plus(whole, whole_rest, c)
                inside, inside_rest = plus(inside, inside_rest, -c)
                lever, lever_rest = plus(lever, lever_rest, -c * step)
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
    passes = np.empty(BLOCK, np.uint8)
    kept = np.empty(BLOCK + 1, np.int64)
    cell = np.empty(BLOCK, np.int64)
    over = np.empty(BLOCK)
    odd = np.empty(BLOCK + 1, np.int64)
    for block in range(first, last, BLOCK):
        stop = min(block + BLOCK, last)
        out[block:stop] = 0.0
        many = sift(
            logits, targets, groups, floors, low, rate, cells, block, stop, passes, kept, cell, over
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
            at = search(x, knots, np.int64(before[c]), np.int64(before[c + 1]))
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
    if groups is None and starts[1] == 0:
        return torch.zeros_like(logits)
    knots = Knots(scores, starts, delta, logits.shape[0])
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
