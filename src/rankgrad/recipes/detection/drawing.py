"""One image with its detections, as a picture file."""

from collections.abc import Sequence
from pathlib import Path

from rankgrad.data.boxes import BoxRecord, pixels
from rankgrad.recipes.detection.figures import draw_boxes
from rankgrad.recipes.detection.outcomes import Prediction
from rankgrad.report.style import canvas

__all__ = ["save_drawing"]

DOTS = 100


def save_drawing(record: BoxRecord, one: Prediction, categories: Sequence[str], path: Path) -> None:
    """Write the image with boxes, names and scores drawn in; at least 400 pixels wide."""
    factor = max(1.0, 400 / record.width)
    figure, (axes,) = canvas(factor * record.width / DOTS, factor * record.height / DOTS)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.imshow(pixels(record, record.width, record.height))
    axes.set_axis_off()
    draw_boxes(axes, one, categories)
    figure.savefig(path, dpi=DOTS)
