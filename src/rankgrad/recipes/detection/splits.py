"""Opens a folder of images with boxes, whichever of the formats it is in."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rankgrad.data.boxes import BoxData, Problem
from rankgrad.data.coco import coco_splits, read_coco
from rankgrad.data.scenes import digit_scenes
from rankgrad.data.voc import read_voc, voc_categories, voc_splits

__all__ = ["DataError", "Splits", "open_splits"]

# The part of the training images that validates where the data have no such split.
HELD_OUT = 0.15


class DataError(Exception):
    """There is nothing to train on, or too much is wrong with it."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data, and what to say about them."""

    train: BoxData
    val: BoxData
    test: BoxData
    notes: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the labels 1, 2, ..."""
        return self.train.categories

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong in any of the files."""
        found = (*self.train.problems, *self.val.problems, *self.test.problems)
        return tuple(dict.fromkeys(found))


def open_splits(folder: str | Path | None, *, strict: bool = False, scenes: int = 200) -> Splits:
    """Open a data set in COCO's or Pascal VOC's layout; without a folder, scenes of digits.

    Without a validation split 15 % of the training images are held out for it, the same ones every
    time; without a test split validation takes its place.

    Args:
        folder: of the data set.
        strict: refuse files with anything wrong in them.
        scenes: training images, if there is no folder.

    Raises:
        DataError: the folder is in neither layout, nothing usable remains, or ``strict``.
    """
    if folder is None:
        parts = {
            split: digit_scenes(count, split)
            for split, count in (("train", scenes), ("val", scenes // 4), ("test", scenes // 2))
        }
        return Splits(**parts, notes=("scenes made of scikit-learn's digits",))
    try:
        found = _read(Path(folder))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from None
    splits = _complete(found)
    if strict and splits.problems:
        raise DataError(_listing(splits.problems, "refused, as --strict asks"))
    for name, data in (("train", splits.train), ("val", splits.val)):
        if not data.usable:
            text = f"no usable object is left in the {name} split of {folder}"
            raise DataError(_listing(splits.problems, text))
    return splits


def _read(folder: Path) -> dict[str, BoxData]:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder")
    if voc := voc_splits(folder):
        names = voc_categories(folder)
        wanted = [split for split in ("train", "val", "test") if split in voc]
        if "train" not in voc and "trainval" in voc:
            return {"train": read_voc(folder, "trainval", names)}
        return {split: read_voc(folder, split, names) for split in wanted}
    if coco := coco_splits(folder):
        found = {split: read_coco(*paths) for split, paths in coco.items()}
        kinds = {split: data.categories for split, data in found.items()}
        if len(set(kinds.values())) > 1:
            raise DataError(f"the splits of {folder} have different categories: {kinds}")
        return found
    raise DataError(
        f"{folder} is neither in COCO's layout (annotations/instances_train.json beside train/) "
        "nor in Pascal VOC's (Annotations/, JPEGImages/, ImageSets/Main/)"
    )


def _complete(found: dict[str, BoxData]) -> Splits:
    if "train" not in found:
        raise DataError(f"there is no training split, only {', '.join(found) or 'nothing'}")
    train, notes = found["train"], []
    val = found.get("val")
    if val is None:
        order = np.random.default_rng(0).permutation(len(train))
        count = max(1, round(HELD_OUT * len(train)))
        val = replace(train.select(sorted(order[:count].tolist())), problems=())
        train = train.select(sorted(order[count:].tolist()))
        notes.append(f"no validation split: {count} training images held out for it")
    test = found.get("test")
    if test is None:
        test = replace(val, problems=())
        notes.append("no test split: validation takes its place")
    return Splits(train, val, test, tuple(notes))


def _listing(problems: tuple[Problem, ...], text: str, most: int = 20) -> str:
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  and {len(problems) - most} more")
    return "\n".join([text, *lines])
