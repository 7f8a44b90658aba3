"""What is wrong in annotation files, found box by box and picture by picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Collector", "Problem", "sound_box", "sound_picture", "sound_shape"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in an annotation file."""

    file: str
    id: str
    """Of the image or annotation, as the file names it."""
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.id}: {self.text}"


@dataclass
class Collector:
    """Gathers problems while a file is read."""

    file: str
    found: list[Problem] = field(default_factory=list)

    def note(self, kind: str, what: object, text: str) -> None:
        """Add one."""
        self.found.append(Problem(self.file, str(what), kind, text))


def sound_box(
    box: Sequence[Any], width: int, height: int, what: str, notes: Collector
) -> list[float] | None:
    """Return the part of the box inside the image, or None and a note why there is none."""
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
    except (TypeError, ValueError):
        notes.note("not a number", what, f"box {box!r} is not four numbers; left out")
        return None
    if not np.isfinite([x1, y1, x2, y2]).all():
        notes.note("not a number", what, f"box {box!r} is not finite; left out")
        return None
    if x2 <= x1 or y2 <= y1:
        notes.note("no area", what, f"box {x1:g}, {y1:g}, {x2:g}, {y2:g} has no area; left out")
        return None
    inside = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    if inside == [x1, y1, x2, y2]:
        return inside
    where = f"box {x1:g}, {y1:g}, {x2:g}, {y2:g} in an image of {width} x {height}"
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        notes.note("outside the image", what, f"{where} lies outside; left out")
        return None
    if max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True)) > 1:
        notes.note("outside the image", what, f"{where} reaches outside; cut off")
    return inside


def sound_picture(path: Path, width: int, height: int, what: str, notes: Collector) -> bool:
    """Whether the file is a picture of the listed shape (in any resolution); else a note.

    Only its header is read: what is torn further in shows when the picture is decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            w, h = opened.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        why = "" if str(path) in str(error) else f" ({error})"
        notes.note("unreadable image", what, f"{path.name} is no picture{why}; left out")
        return False
    # Widths and heights of other resolutions are rounded to whole pixels.
    rounding = max(w, h, width, height)
    if abs(w * height - h * width) > 0.01 * w * height + rounding:
        listed = f"{width} x {height}"
        notes.note("another shape", what, f"{path.name} is {w} x {h}, listed as {listed}; left out")
        return False
    return True


def sound_shape(shape: Any, what: str, notes: Collector) -> Any:
    """Return COCO's polygons or run lengths if they can be read, else None and a note."""
    if shape is None or (isinstance(shape, list) and not shape):
        return None
    try:
        if isinstance(shape, dict):
            height, width = (int(side) for side in shape["size"])
            counts = shape["counts"]
            if isinstance(counts, str | bytes) or sum(map(int, counts)) == height * width:
                return shape
        elif all(
            len(polygon) % 2 == 0 and np.isfinite(np.asarray(polygon, dtype=np.float64)).all()
            for polygon in shape
        ):
            return shape
    except (KeyError, TypeError, ValueError):
        pass
    notes.note("unreadable mask", what, "the segmentation cannot be read; the box has no mask")
    return None
