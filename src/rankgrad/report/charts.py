"""The charts that reports are made of. Each takes plain numbers and returns a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from rankgrad.report.page import Figure
from rankgrad.report.style import COLORS, INK, LINES, QUIET, canvas, data_uri, describe

__all__ = [
    "Band",
    "bars",
    "curves",
    "differences",
    "histogram",
    "predicted_against_true",
]

# (start, end, name) of a stretch of the x axis
Band = tuple[float, float, str]

_SHADES = {"many": "#dbe7f3", "medium": "#eef3f8", "few": "#ffffff"}


def curves(
    lines: Mapping[str, np.ndarray],
    *,
    x: np.ndarray | None = None,
    x_label: str,
    y_label: str,
    title: str,
    alt: str,
    caption: str = "",
    log: bool = False,
    bands: Sequence[Band] = (),
) -> Figure:
    """Draw one line a name, the mean over rows ``[seeds, points]``, each row faintly behind it.

    Rows that are shorter than others end in NaN, and the mean is over those that go on.
    """
    figure, (axes,) = canvas()
    _shade(axes, bands)
    for index, (name, values) in enumerate(lines.items()):
        style = index % len(COLORS)
        xs = np.arange(1, values.shape[1] + 1) if x is None else x
        if len(values) > 1 and not bands:
            axes.plot(xs, values.T, color=COLORS[style], alpha=0.22, linewidth=0.7)
        axes.plot(
            xs,
            _mean(values),
            color=COLORS[style],
            linestyle=LINES[style],
            linewidth=1.9,
            label=name,
        )
    if log:
        axes.set_yscale("log")
    axes.margins(x=0.01)
    describe(axes, title, x_label, y_label, legend=True)
    return Figure(data_uri(figure), alt, caption)


def _mean(rows: np.ndarray) -> np.ndarray:
    """The mean over rows, leaving out NaN; NaN where there is nothing else."""
    counts = np.isfinite(rows).sum(axis=0)
    mean: np.ndarray = np.nansum(rows, axis=0) / np.where(counts > 0, counts, np.nan)
    return mean


def histogram(
    counts: np.ndarray,
    *,
    x_label: str,
    y_label: str,
    title: str,
    alt: str,
    caption: str = "",
    bands: Sequence[Band] = (),
    x: np.ndarray | None = None,
) -> Figure:
    """Draw counts as bars, over named stretches of the axis; ``x`` says where bars stand."""
    figure, (axes,) = canvas()
    _shade(axes, bands)
    x = np.arange(len(counts)) if x is None else x
    width = 0.85 * (float(x[1] - x[0]) if len(x) > 1 else 1.0)
    axes.bar(x, counts, width=width, color=COLORS[1])
    axes.margins(x=0.01)
    axes.grid(visible=False, axis="x")
    describe(axes, title, x_label, y_label)
    return Figure(data_uri(figure), alt, caption)


def _shade(axes: Axes, bands: Sequence[Band]) -> None:
    named: set[str] = set()
    for start, end, name in bands:
        axes.axvspan(start, end, color=_SHADES.get(name, "#ffffff"), linewidth=0, zorder=0)
        if end - start >= 8 or name not in named:
            axes.text(
                (start + end) / 2,
                1.0,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=9,
                color=QUIET,
            )
            named.add(name)


def bars(
    groups: Sequence[str],
    heights: Mapping[str, Sequence[float]],
    errors: Mapping[str, Sequence[float]],
    *,
    y_label: str,
    title: str,
    alt: str,
    caption: str = "",
) -> Figure:
    """Draw one bar a name in each group; what is NaN stays empty."""
    figure, (axes,) = canvas()
    width = 0.8 / max(len(heights), 1)
    for index, (name, values) in enumerate(heights.items()):
        at = np.arange(len(groups)) + (index - (len(heights) - 1) / 2) * width
        axes.bar(
            at,
            np.nan_to_num(values),
            width * 0.92,
            yerr=np.nan_to_num(errors[name]),
            color=COLORS[index % len(COLORS)],
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": INK},
            label=name,
        )
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.grid(visible=False, axis="x")
    describe(axes, title, y=y_label, legend=True)
    return Figure(data_uri(figure), alt, caption)


def differences(
    rows: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    title: str,
    alt: str,
    caption: str = "",
) -> Figure:
    """Draw differences seed by seed as dots around zero, with their mean as a bar."""
    figure, (axes,) = canvas(height=1.2 + 0.55 * len(rows))
    axes.axvline(0, color=INK, linewidth=1)
    for index, values in enumerate(rows.values()):
        axes.plot(values, np.full(len(values), index), "o", color=COLORS[1], alpha=0.75, ms=7)
        if len(values):
            mean = float(np.mean(values))
            axes.plot([mean, mean], [index - 0.3, index + 0.3], color=COLORS[2], linewidth=2.5)
    axes.set_yticks(np.arange(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False, axis="y")
    describe(axes, title, x_label)
    return Figure(data_uri(figure), alt, caption)


def predicted_against_true(
    predictions: np.ndarray,
    targets: np.ndarray,
    *,
    title: str,
    alt: str,
    caption: str = "",
    color: int = 0,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw every prediction over its true value, with the diagonal and the median per value."""
    figure, (axes,) = canvas(width=4.4, height=4.2)
    low, high = limits or (float(targets.min()), float(targets.max()))
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    axes.plot(
        targets,
        predictions,
        ".",
        color=COLORS[color % len(COLORS)],
        alpha=0.18,
        ms=4,
        rasterized=True,
    )
    values = np.unique(targets)
    medians = [np.median(predictions[targets == value]) for value in values]
    axes.plot(values, medians, color=COLORS[color % len(COLORS)], linewidth=2)
    margin = 0.03 * (high - low)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
    describe(axes, title, "true label", "predicted")
    axes.set_aspect("equal")
    return Figure(data_uri(figure), alt, caption)
