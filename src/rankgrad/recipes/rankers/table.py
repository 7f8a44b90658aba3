"""The rankers' defaults on the scores, as plain text."""

import math
from collections.abc import Mapping, Sequence

import torch

from rankgrad.ranks import rank
from rankgrad.recipes.rankers.sweep import Curve, Ranked, largest_error

__all__ = ["faithful_setting", "plain_table"]

_COLUMNS = 10  # scores that fit into a line


def plain_table(
    scores: Sequence[float], curves: Sequence[Curve], learned: Mapping[str, Ranked]
) -> str:
    """Return a line for each ranker: the ranks that its shorthand gives, and where it stays close.

    With many scores the ranks give way to their largest error.
    """
    few = len(scores) <= _COLUMNS
    hard = rank(torch.tensor(scores, dtype=torch.float64), ties="average").tolist()
    lines = [["", *(f"{s:.4g}" for s in scores)] if few else ["", "largest error"]]
    lines[0] += ["within half a place up to"]
    lines.append(["hard", *(f"{r:.4g}" for r in hard)] if few else ["hard", "0"])
    rows = [
        (f"{c.sweep.shorthand}, {c.sweep.setting} {c.sweep.default:g}", c.default, c)
        for c in curves
    ]
    for name, found, curve in (*rows, *((name, r, None) for name, r in learned.items())):
        shown = [f"{r:.2f}" for r in found.ranks]
        error = f"{float(largest_error(scores, found.ranks)):.2f}"
        best = "no setting" if curve is None else faithful_setting(curve)
        lines.append([name, *(shown if few else [error]), best])
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, len(widths) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    )


def faithful_setting(curve: Curve) -> str:
    """Return the softest setting that the ranks bear, as ``temperature 0.05``, or what it is.

    Up to it (down to it, for a steepness) no rank is more than half a place from the hard one.
    """
    softness = curve.faithful()
    if math.isnan(softness):
        return "none"
    if softness >= curve.softness[-1]:
        return "any"
    return f"{curve.sweep.setting} {curve.sweep.value(softness):.2g}"
