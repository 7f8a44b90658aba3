"""Images with boxes: what every annotation format is read into."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rankgrad.data.annotations import Problem

__all__ = ["BoxData", "BoxDataset", "BoxRecord", "Problem", "ellipses", "pixels"]


@dataclass(frozen=True)
class BoxRecord:
    """One image and what is on it."""

    id: int | str
    image: Path | np.ndarray
    """A file, or the picture itself ``[height, width, 3]`` (uint8)."""
    width: int
    height: int
    boxes: np.ndarray
    """``[n, 4]`` float32, ``(x1, y1, x2, y2)`` in pixels."""
    labels: np.ndarray
    """``[n]`` int64, 1 for the first category."""
    crowd: np.ndarray
    """``[n]`` bool: regions to be left out, neither object nor background."""
    shapes: tuple[Any, ...] = ()
    """For masks, of each box: polygons, COCO's RLE, an array ``[h, w]``, or "ellipse"."""


@dataclass(frozen=True)
class BoxData:
    """Records of one split, the categories that labels 1, 2, ... mean, and what was wrong."""

    records: tuple[BoxRecord, ...]
    categories: tuple[str, ...]
    category_ids: tuple[int, ...]
    """How the annotation file numbers the categories."""
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def usable(self) -> bool:
        """Whether there is at least one object to learn from."""
        return self.objects > 0

    @property
    def objects(self) -> int:
        """How many objects there are, crowd regions apart."""
        return sum(int((~record.crowd).sum()) for record in self.records)

    def select(self, indices: Iterable[int]) -> "BoxData":
        """Return some of the records."""
        return replace(self, records=tuple(self.records[i] for i in indices))

    def summary(self) -> str:
        """Say how much there is, and how much is wrong, in one line."""
        text = f"{len(self)} images, {self.objects} objects, {len(self.categories)} categories"
        if self.problems:
            kinds = Counter(problem.kind for problem in self.problems)
            text += "; left out or mended: " + ", ".join(f"{k} {v}" for k, v in kinds.items())
        return text


def ellipses(data: BoxData) -> BoxData:
    """Return the data with the ellipse in each box as its mask, a stand-in for round things."""
    return replace(
        data,
        records=tuple(replace(r, shapes=("ellipse",) * len(r.boxes)) for r in data.records),
    )


class BoxDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images and targets as torchvision's detectors take them.

    An item is an image ``[3, h, w]`` in 0..1 and ``{"boxes", "labels", "image_id"}``, with masks
    also ``"masks"``; crowd regions are left out. ``image_id`` is the number of the record.

    Args:
        data: the records.
        size: length of the shorter side that images are scaled to; None leaves them.
        masks: whether to give masks.
        keep: keep the scaled images in memory.
    """

    def __init__(
        self, data: BoxData, size: int | None = None, *, masks: bool = False, keep: bool = False
    ) -> None:
        self.data = data
        self.size = size
        self.masks = masks
        self.keep = keep
        self._kept: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if index not in self._kept:
            item = self._read(index)
            if not self.keep:
                return self._ready(item)
            self._kept[index] = item
        return self._ready(self._kept[index])

    def _read(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        record = self.data.records[index]
        height, width = self.scaled(index)
        picture = pixels(record, width, height)
        kept = ~record.crowd
        scale = np.array([width / record.width, height / record.height] * 2, dtype=np.float32)
        target = {
            "boxes": torch.from_numpy(record.boxes[kept].reshape(-1, 4) * scale),
            "labels": torch.from_numpy(record.labels[kept]),
            "image_id": torch.tensor(index),
        }
        if self.masks:
            shapes = [s for s, k in zip(record.shapes, kept, strict=True) if k]
            masks = [
                rasterize(shape, box, record, (height, width))
                for shape, box in zip(shapes, target["boxes"].tolist(), strict=True)
            ]
            stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
            target["masks"] = torch.from_numpy(stacked)
        return torch.from_numpy(picture).permute(2, 0, 1).contiguous(), target

    @staticmethod
    def _ready(item: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        image, target = item
        return image.float() / 255, dict(target)

    def scaled(self, index: int) -> tuple[int, int]:
        """Return the height and width that an image is given with."""
        record = self.data.records[index]
        if self.size is None:
            return record.height, record.width
        factor = self.size / min(record.height, record.width)
        return max(1, round(record.height * factor)), max(1, round(record.width * factor))


def pixels(record: BoxRecord, width: int, height: int) -> np.ndarray:
    """Return the picture, scaled, as ``[height, width, 3]``."""
    from PIL import Image

    if isinstance(record.image, np.ndarray):
        picture = Image.fromarray(record.image)
    else:
        try:
            with Image.open(record.image) as opened:
                opened.draft("RGB", (width, height))
                picture = opened.convert("RGB")
        except OSError as error:
            raise OSError(f"{record.image} cannot be read ({error})") from None
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(picture.convert("RGB"))


def rasterize(
    shape: Any, box: Sequence[float], record: BoxRecord, size: tuple[int, int]
) -> np.ndarray:
    """Return one mask ``[height, width]`` in the size that the image is given with."""
    from PIL import Image, ImageDraw

    height, width = size
    if isinstance(shape, dict):
        shape = _run_lengths(shape, record)
    if isinstance(shape, np.ndarray):
        scaled = Image.fromarray(shape.astype(np.uint8) * 255).resize((width, height))
        return np.array(scaled) >= 128
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    if shape == "ellipse":
        x1, y1, x2, y2 = box
        draw.ellipse((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), fill=1)
    else:
        scale = np.array([width / record.width, height / record.height])
        for polygon in shape or ():
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2) * scale
            if len(points) >= 3:
                draw.polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.array(canvas)


def _run_lengths(shape: dict[str, Any], record: BoxRecord) -> np.ndarray:
    """COCO's run-length encoding, plain or compressed, as an array."""
    height, width = shape.get("size", (record.height, record.width))
    counts = shape["counts"]
    if isinstance(counts, str | bytes):
        from faster_coco_eval.core import mask

        decoded: np.ndarray = mask.decode({"size": [height, width], "counts": counts})
        return decoded.astype(bool)
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T
