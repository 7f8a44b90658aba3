"""Scenes to detect things in, made of scikit-learn's real digit images: no file is needed."""

from typing import Any

import numpy as np

from rankgrad.data.boxes import BoxData, BoxRecord
from rankgrad.data.digits import digit_images

__all__ = ["digit_scenes"]

# The parts of the source images of each digit: what is tested was never seen in training.
_PARTS = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}


def digit_scenes(
    count: int,
    split: str = "train",
    *,
    size: int = 128,
    most: int = 6,
    classes: int = 10,
    seed: int = 0,
) -> BoxData:
    """Return pictures with handwritten digits at random places and scales, their boxes and masks.

    Each digit is one of 1,797 images of 8 x 8, enlarged to 12 up to about 40 pixels, on a smooth
    noisy ground; they may overlap a little. A picture holds 1 to ``most`` of them. The source
    images of the splits are different ones.

    Args:
        count: pictures.
        split: "train", "val" or "test".
        size: width and height of a picture.
        most: the most digits in a picture.
        classes: the digits 0 to ``classes - 1``.
        seed: fixes the pictures.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    start, end = _PARTS[split]
    images, digits = digit_images()
    pool = []
    for digit in range(classes):
        members = np.random.default_rng(digit).permutation(np.flatnonzero(digits == digit))
        pool.append(members[int(start * len(members)) : int(end * len(members))])
    rng = np.random.default_rng([seed, list(_PARTS).index(split)])
    records = tuple(
        _scene(i, images, pool, rng, size, int(rng.integers(1, most + 1))) for i in range(count)
    )
    names = tuple(str(digit) for digit in range(classes))
    return BoxData(records, names, tuple(range(1, classes + 1)))


def _scene(
    key: int,
    images: np.ndarray,
    pool: list[np.ndarray],
    rng: np.random.Generator,
    size: int,
    number: int,
) -> BoxRecord:
    from PIL import Image

    coarse = Image.fromarray(rng.integers(20, 90, (5, 5), dtype=np.uint8))
    ground = np.array(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    ground += rng.normal(0, 6, (size, size))
    boxes: list[list[float]] = []
    labels: list[int] = []
    masks: list[Any] = []
    for _ in range(number):
        label = int(rng.integers(len(pool)))
        side = int(rng.integers(12, max(13, min(41, size // 2))))
        digit = Image.fromarray((images[rng.choice(pool[label])] * 255).astype(np.uint8))
        ink = np.array(digit.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
        rows, columns = (np.flatnonzero((ink > 0.3).any(axis)) for axis in (1, 0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = ink.shape
        for _try in range(20):
            x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
            box = [float(x), float(y), float(x + width), float(y + height)]
            if all(_shared(box, other) < 0.15 for other in boxes):
                break
        else:
            continue
        part = ground[y : y + height, x : x + width]
        part += ink * (235 - part)
        mask = np.zeros((size, size), dtype=bool)
        mask[y : y + height, x : x + width] = ink > 0.3
        boxes.append(box)
        labels.append(label + 1)
        masks.append(mask)
    picture = np.repeat(ground.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return BoxRecord(
        id=key,
        image=picture,
        width=size,
        height=size,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.zeros(len(boxes), dtype=bool),
        shapes=tuple(masks),
    )


def _shared(first: list[float], second: list[float]) -> float:
    """The shared area as a part of the smaller box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return max(width, 0.0) * max(height, 0.0) / min(areas)
