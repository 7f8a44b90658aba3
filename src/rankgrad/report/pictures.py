"""Charts in which colour is a value: matrices, clouds of points, small images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure as Canvas

from rankgrad.report.page import Figure
from rankgrad.report.style import QUIET, canvas, data_uri, describe

__all__ = ["heat_map", "image_grid", "scatter"]


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
    _color_bar(figure, image, axes, label)
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
    _color_bar(figure, dots, axes, label)
    return Figure(data_uri(figure), alt, caption)


def _color_bar(figure: Canvas, colored: ScalarMappable, axes: Axes, label: str) -> None:
    bar = figure.colorbar(colored, ax=axes, shrink=0.85)
    bar.set_label(label, color=QUIET)
    bar.ax.tick_params(length=0, labelcolor=QUIET)
    bar.outline.set_visible(False)


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
