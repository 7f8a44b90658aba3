"""The pictures of the detection pages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from rankgrad.data.boxes import BoxRecord, pixels
from rankgrad.recipes.detection.outcomes import ClassOutcomes, Prediction
from rankgrad.report import Figure
from rankgrad.report.style import COLORS, INK, LINES, canvas, data_uri, describe

__all__ = [
    "draw_boxes",
    "epochs_chart",
    "order_scatter",
    "precision_recall",
    "samples",
    "score_histogram",
]

TRUTH = "#f5f5f5"


def precision_recall(
    by_name: Mapping[str, Sequence[ClassOutcomes]], category: int, *, title: str
) -> Figure:
    """Draw precision over recall at IoU 0.5 of one category, one line a name."""
    figure, (axes,) = canvas(width=4.4, height=3.4)
    ends = []
    for index, (name, found) in enumerate(by_name.items()):
        recall, precision = found[category].curve()
        style = index % len(COLORS)
        axes.plot(
            recall, precision, color=COLORS[style], linestyle=LINES[style], label=name, lw=1.7
        )
        if len(recall):
            ends.append(f"{name} reaches recall {recall[-1]:.2f}")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    describe(axes, title, "recall", "precision", legend=bool(by_name))
    return Figure(data_uri(figure), f"Precision over recall, {title}: {'; '.join(ends)}.")


def score_histogram(found: Sequence[ClassOutcomes], *, title: str) -> Figure:
    """Draw the scores of right and of wrong detections at IoU 0.5; counts on a log scale."""
    scores = np.concatenate([one.scores[one.ious[0] >= 0] for one in found])
    right = np.concatenate([one.ious[0][one.ious[0] >= 0] > 0 for one in found])
    figure, (axes,) = canvas(width=4.4, height=3.4)
    edges = np.linspace(0, 1, 31)
    for name, chosen, color in (("wrong", ~right, COLORS[2]), ("right", right, COLORS[1])):
        axes.hist(scores[chosen], edges.tolist(), color=color, alpha=0.6, label=name)
    axes.set_yscale("symlog")
    describe(axes, title, "score", "detections", legend=True)
    medians = [float(np.median(scores[c])) if c.any() else float("nan") for c in (right, ~right)]
    return Figure(
        data_uri(figure),
        f"Histogram of scores, {title}: median {medians[0]:.2f} of {int(right.sum())} right "
        f"detections, {medians[1]:.2f} of {int((~right).sum())} wrong ones.",
    )


def order_scatter(found: Sequence[ClassOutcomes], agreement: float, *, title: str) -> Figure:
    """Draw score against IoU of the right detections."""
    figure, (axes,) = canvas(width=4.4, height=3.4)
    for index, one in enumerate(found):
        right = one.ious[0] > 0
        axes.plot(
            one.ious[0][right],
            one.scores[right],
            ".",
            color=COLORS[(index + 1) % len(COLORS)],
            alpha=0.4,
            ms=4,
            rasterized=True,
        )
    describe(axes, f"{title}: rank correlation {agreement:.2f}", "IoU", "score")
    # Marks of their own: those of the points are faint, and pixels in the SVG.
    marks = [
        Line2D([], [], ls="", marker=".", ms=9, label=one.name, color=COLORS[i % len(COLORS)])
        for i, one in enumerate(found, start=1)
    ]
    axes.legend(handles=marks, frameon=False, fontsize=9.5)
    return Figure(
        data_uri(figure),
        f"Score over IoU of the right detections, {title}: rank correlation {agreement:.2f}.",
    )


def samples(
    records: Sequence[BoxRecord],
    predictions: Sequence[Prediction],
    categories: Sequence[str],
    *,
    threshold: float,
    title: str,
) -> Figure:
    """Show images with true boxes (white, dashed) and detections above the threshold."""
    columns = min(2, len(records))
    rows = -(-len(records) // columns)
    figure, axes = canvas(width=8.4, height=3.2 * rows, rows=rows, columns=columns)
    for cell in axes:
        cell.set_axis_off()
    counts = []
    for cell, record, one in zip(axes, records, predictions, strict=False):
        cell.imshow(pixels(record, record.width, record.height)).set_rasterized(True)
        for box in record.boxes:
            _frame(cell, box, TRUTH, "--")
        kept = one["scores"] > threshold
        draw_boxes(cell, {k: v[kept] for k, v in one.items()}, categories)
        counts.append(f"{len(record.boxes)} true and {int(kept.sum())} detected")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return Figure(
        data_uri(figure),
        f"Images with boxes: {'; '.join(counts)}.",
        f"White, dashed: the truth. In colour: detections that score above {threshold:.2f}.",
    )


def draw_boxes(axes: Axes, one: Prediction, categories: Sequence[str]) -> None:
    """Draw detections into an image."""
    for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
        color = COLORS[1 + (int(label) - 1) % (len(COLORS) - 1)]
        _frame(axes, box, color, "-")
        name = categories[int(label) - 1] if 1 <= label <= len(categories) else "?"
        axes.text(
            box[0], box[1], f"{name} {score:.2f}", color="white", fontsize=6, va="bottom",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _frame(axes: Axes, box: Any, color: str, line: str) -> None:
    x1, y1, x2, y2 = (float(v) for v in box)
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, ls=line, lw=1.1, clip_on=True)
    )


def epochs_chart(history: Sequence[Mapping[str, float]], column: str, label: str) -> Figure:
    """Draw one column of the history over the epochs."""
    figure, (axes,) = canvas(width=4.4, height=3.4)
    x = [row["epoch"] for row in history]
    y = [row[column] for row in history]
    axes.plot(x, y, color=COLORS[1], lw=1.9)
    axes.axhline(0, color=INK, lw=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    describe(axes, label, "epoch", label)
    return Figure(data_uri(figure), f"{label} by epoch, from {y[0]:.2f} to {y[-1]:.2f}.")
