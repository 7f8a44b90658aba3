"""The pictures of the brain-age pages."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from rankgrad.report import Figure
from rankgrad.report.style import COLORS, INK, LINES, canvas, data_uri, describe

__all__ = [
    "age_scatter",
    "discordant_chart",
    "epochs_chart",
    "gap_scatter",
    "saliency_slices",
]

_MARKERS = ("o", "s")


def age_scatter(
    ages: np.ndarray, predictions: np.ndarray, groups: Mapping[str, np.ndarray], *, title: str
) -> Figure:
    """Draw predicted over true age, a colour and marker a group, with the diagonal."""
    figure, (axes,) = canvas(width=4.4, height=4.2)
    low, high = _limits(np.concatenate((ages, predictions)))
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    _points(axes, ages, predictions, groups)
    axes.set(xlim=(low, high), ylim=(low, high))
    describe(axes, title, "true age", "predicted age", legend=len(groups) > 1)
    axes.set_aspect("equal")
    error = float(np.nanmean(np.abs(predictions - ages)))
    return Figure(
        data_uri(figure),
        f"Predicted over true age of {len(ages)} scans, {title}: mean absolute error "
        f"{error:.2f} years.",
    )


def gap_scatter(
    ages: np.ndarray, gaps: np.ndarray, groups: Mapping[str, np.ndarray], *, title: str
) -> Figure:
    """Draw brain-age gaps over true age, with their trend as a line."""
    figure, (axes,) = canvas(width=4.4, height=3.6)
    axes.axhline(0, color=INK, linewidth=1)
    _points(axes, ages, gaps, groups)
    slope, r = float("nan"), float("nan")
    known = ~np.isnan(gaps)
    if known.sum() > 2 and np.ptp(ages[known]) > 0 and np.ptp(gaps[known]) > 0:
        slope, intercept = np.polyfit(ages[known], gaps[known], 1)
        r = float(np.corrcoef(ages[known], gaps[known])[0, 1])
        ends = np.array([ages.min(), ages.max()])
        axes.plot(ends, slope * ends + intercept, color=COLORS[0], linewidth=2)
    describe(axes, title, "true age", "predicted - true, years", legend=len(groups) > 1)
    return Figure(
        data_uri(figure),
        f"Residual over true age, {title}: slope {slope:.3f}, correlation {r:.2f}.",
        f"Grey: the trend, {slope:+.2f} years a year; correlation with age {r:+.2f}.",
    )


def discordant_chart(shares: Mapping[str, Sequence[tuple[str, int, float]]]) -> Figure:
    """Draw the share of pairs in the wrong order over the difference of ages, a line a stage."""
    figure, (axes,) = canvas()
    said = []
    for index, (name, entries) in enumerate(shares.items()):
        values = [100 * share for _, _, share in entries]
        style = (index + 1) % len(COLORS)
        axes.plot(
            range(len(values)), values, "o", color=COLORS[style], linestyle=LINES[style],
            linewidth=1.9, label=name,
        )  # fmt: skip
        said.append(
            f"{name} "
            + ", ".join(f"{v:.0f} % ({e[0]})" for v, e in zip(values, entries, strict=True))
        )
    names = [name for name, _, _ in next(iter(shares.values()))]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, None)
    axes.axhline(50, color=INK, linewidth=0.8, linestyle=":")
    describe(
        axes, "Pairs in the wrong order", "years between the two", "percent",
        legend=len(shares) > 1,
    )  # fmt: skip
    return Figure(
        data_uri(figure),
        "Share of pairs whose predicted order is wrong, by the difference of their ages: "
        + "; ".join(said) + ".",
        "Dotted: chance.",
    )  # fmt: skip


def epochs_chart(
    history: Sequence[Mapping[str, float]], columns: Mapping[str, str], *, title: str
) -> Figure:
    """Draw columns of the history over the epochs, on a logarithmic scale."""
    figure, (axes,) = canvas(width=4.4, height=3.4)
    x = [row["epoch"] for row in history]
    said = []
    for index, (column, label) in enumerate(columns.items()):
        y = [row[column] for row in history]
        style = (index + 1) % len(COLORS)
        axes.plot(x, y, color=COLORS[style], linestyle=LINES[style], linewidth=1.7, label=label)
        said.append(f"{label} from {y[0]:.3g} to {y[-1]:.3g}")
    axes.set_yscale("log")
    describe(axes, title, "epoch", legend=len(columns) > 1)
    return Figure(data_uri(figure), f"{title}, over epochs: {'; '.join(said)}.")


def saliency_slices(
    volumes: Sequence[np.ndarray], maps: Sequence[np.ndarray], labels: Sequence[str]
) -> Figure:
    """Show three middle slices of each volume, and the same with its saliency over them."""
    figure, axes = canvas(width=8.4, height=1.75 * len(volumes), rows=len(volumes), columns=6)
    for row, (volume, found, label) in enumerate(zip(volumes, maps, labels, strict=True)):
        top = float(np.quantile(found, 0.998)) or 1.0
        low, high = np.quantile(volume[volume != 0], [0.01, 0.99]) if volume.any() else (0, 1)
        for axis in range(3):
            middle = volume.shape[axis] // 2
            grey = np.where(volume == 0, low, volume).take(middle, axis).T
            heat = found.take(middle, axis).T
            for place in (axis, axis + 3):
                cell = axes[6 * row + place]
                cell.set_axis_off()
                cell.imshow(grey, cmap="gray", origin="lower", vmin=low, vmax=high).set_rasterized(
                    True
                )
            over = axes[6 * row + axis + 3].imshow(
                heat, cmap="inferno", origin="lower", vmin=0, vmax=top,
                alpha=np.clip(heat / top, 0, 1) * 0.85,
            )  # fmt: skip
            over.set_rasterized(True)
        axes[6 * row].set_title(label, fontsize=9, loc="left")
    return Figure(
        data_uri(figure),
        f"Middle slices of {len(volumes)} volumes, plain and with the saliency of the predicted "
        "age over them.",
        "Left: sagittal, coronal and axial slice. Right: the same, brighter where a change of the "
        "voxel changes the predicted age more.",
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.04 * max(high - low, 1.0)
    return low - margin, high + margin


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, groups: Mapping[str, np.ndarray]) -> None:
    for index, (name, chosen) in enumerate(groups.items()):
        axes.plot(
            x[chosen], y[chosen], _MARKERS[index % 2], color=COLORS[index + 1], alpha=0.6, ms=4,
            markeredgewidth=0, label=name, rasterized=True,
        )  # fmt: skip
