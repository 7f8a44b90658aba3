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
    "heat_map",
    "histogram",
    "image_grid",
    "predicted_against_true",
    "scatter",
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
    """Draw one line a name, the mean over rows ``[seeds, points]``, each row faintly behind it."""
    figure, (axes,) = canvas()
    _shade(axes, bands)
    for index, (name, values) in enumerate(lines.items()):
        style = index % len(COLORS)
        xs = np.arange(1, values.shape[1] + 1) if x is None else x
        if len(values) > 1 and not bands:
            axes.plot(xs, values.T, color=COLORS[style], alpha=0.22, linewidth=0.7)
        axes.plot(
            xs,
            values.mean(axis=0),
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


def heat_map(
    matrix: np.ndarray,
    *,
    title: str,
    label: str,
    axis_label: str,
    alt: str,
    caption: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw a square matrix whose rows and columns run along one axis."""
    figure, (axes,) = canvas(width=4.9, height=4.2)
    low, high = limits or (float(np.nanmin(matrix)), float(np.nanmax(matrix)))
    image = axes.imshow(matrix, cmap="viridis", vmin=low, vmax=high, origin="lower")
    image.set_rasterized(True)
    axes.grid(visible=False)
    describe(axes, title, axis_label, axis_label)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label(label, color=QUIET)
    bar.ax.tick_params(length=0, labelcolor=QUIET)
    bar.outline.set_visible(False)
    return Figure(data_uri(figure), alt, caption)


def scatter(
    points: np.ndarray,
    values: np.ndarray,
    *,
    title: str,
    label: str,
    alt: str,
    caption: str = "",
) -> Figure:
    """Draw points ``[n, 2]`` of a plane whose axes mean nothing, coloured by a value."""
    figure, (axes,) = canvas(width=4.9, height=4.2)
    dots = axes.scatter(
        points[:, 0], points[:, 1], c=values, cmap="viridis", s=7, linewidths=0, rasterized=True
    )
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    describe(axes, title)
    bar = figure.colorbar(dots, ax=axes, shrink=0.85)
    bar.set_label(label, color=QUIET)
    bar.ax.tick_params(length=0, labelcolor=QUIET)
    bar.outline.set_visible(False)
    return Figure(data_uri(figure), alt, caption)


def image_grid(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    title: str,
    alt: str,
    caption: str = "",
    columns: int = 3,
) -> Figure:
    """Show small grey images, each under its label."""
    rows = -(-len(images) // columns)
    figure, axes = canvas(rows=rows, columns=columns)
    for cell in axes:
        cell.set_axis_off()
    for cell, image, label in zip(axes, images, labels, strict=False):
        cell.imshow(image, cmap="gray_r", vmin=0)
        cell.set_title(label, fontsize=10, color=QUIET)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return Figure(data_uri(figure), alt, caption)
