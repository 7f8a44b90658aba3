"""The plots of a ranker: ranks and gradients over its softness."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from rankgrad.recipes.rankers.sweep import Curve
from rankgrad.report import Figure
from rankgrad.report.style import INK, QUIET, canvas, data_uri, describe

__all__ = ["ranks_and_gradients"]

_LABELLED = 10  # lines that can be told apart by a number at their end


def ranks_and_gradients(curve: Curve, scores: np.ndarray) -> Figure:
    """Draw the rank of every score, and below it its gradient, from hard (left) to soft."""
    figure, (above, below) = canvas(width=4.6, height=5.0, rows=2)
    order = np.argsort(-scores, kind="stable")
    shades = np.linspace(0.0, 0.8, len(scores))
    for place, item in enumerate(order):
        color = to_hex(colormaps["viridis"](shades[place]))
        for axes, values in ((above, curve.swept.ranks), (below, curve.swept.pull)):
            axes.plot(curve.softness, values[:, item], color=color, linewidth=1.6)
        if len(scores) <= _LABELLED:
            above.annotate(
                f"{scores[item]:.3g}",
                (curve.softness[0], curve.swept.ranks[0, item]),
                xytext=(-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
                color=color,
            )
    low, high = curve.softness[0], curve.softness[-1]
    room = (high / low) ** 0.13 if len(scores) <= _LABELLED else 1.0
    default = curve.sweep.default_softness
    for axes in (above, below):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(low / room, high)
        if low <= default <= high:
            axes.axvline(default, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    above.set_ylim(len(scores) + 0.5, 0.5)
    if low <= default <= high:
        above.annotate(
            "default",
            (default, 0.5),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=INK,
        )
    describe(above, curve.sweep.shorthand, "", "rank")
    describe(below, "", curve.sweep.label, "places gained per unit")
    words = (
        f"The ranker {curve.sweep.shorthand} on {len(scores)} scores over its "
        f"{curve.sweep.label}: ranks above, gradients below."
    )
    return Figure(data_uri(figure), words)
