"""How all charts look, and how a chart becomes part of a page."""

import base64
import io
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

__all__ = ["COLORS", "INK", "LINES", "QUIET", "canvas", "data_uri", "describe"]

# Okabe and Ito's palette, told apart by people with any colour vision; the line styles and the
# markers say the same without colour.
COLORS = ("#6b7280", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b58900")
LINES = ("-", "--", "-.", "-", (0, (1, 1)), "--", "-.")
INK = "#1d2430"
QUIET = "#566072"

_FONT = "DejaVu Sans"
_WEB_FONT = "system-ui, -apple-system, &apos;Segoe UI&apos;, Roboto, Helvetica, Arial, sans-serif"
# Any: matplotlib's stub lists every key as a literal.
_STYLE: Any = {
    "font.family": _FONT,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#aab2c0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ef",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "savefig.dpi": 160,
    # Letters stay letters: smaller, and in the reader's own font.
    "svg.fonttype": "none",
    "svg.hashsalt": "rankgrad",
}


def canvas(
    width: float = 5.2, height: float = 3.5, rows: int = 1, columns: int = 1
) -> tuple[Canvas, Sequence[Axes]]:
    """Return a figure and its axes, without the global state of pyplot."""
    with rc_context(_STYLE):
        figure = Canvas(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def describe(
    axes: Axes, title: str = "", x: str = "", y: str = "", *, legend: bool = False
) -> None:
    """Set title, axis labels and legend, all in one style."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x, color=QUIET)
    axes.set_ylabel(y, color=QUIET)
    if legend:
        axes.legend(frameon=False, fontsize=9.5)


def data_uri(figure: Canvas) -> str:
    """Return the figure as an SVG in a data URI."""
    buffer = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(f"'{_FONT}'", _WEB_FONT)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
