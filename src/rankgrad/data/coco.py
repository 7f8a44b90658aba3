"""COCO's object annotations: one JSON file a split."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from rankgrad.data.annotations import Collector, sound_box, sound_picture, sound_shape
from rankgrad.data.boxes import BoxData, BoxRecord

__all__ = ["coco_splits", "read_coco"]


def coco_splits(folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """Return ``{split: (annotation file, image folder)}`` of a folder; empty if it is no such.

    Found are ``annotations/instances_train2017.json`` beside ``train2017/``,
    ``annotations/train.json`` beside ``train/`` or ``images/``, and
    ``train/_annotations.coco.json`` beside its images.
    """
    folder = Path(folder)
    found: dict[str, tuple[Path, Path]] = {}
    for split, names in {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}.items():
        for name in names:
            inside = folder / name / "_annotations.coco.json"
            if inside.is_file():
                found.setdefault(split, (inside, inside.parent))
            for path in sorted((folder / "annotations").glob(f"*{name}*.json")):
                stem = path.stem.removeprefix("instances_")
                if stem != name and not stem.removeprefix(name).isdigit():
                    continue
                places = [folder / stem, folder / "images" / stem, folder / "images", folder]
                images = next(place for place in places if place.is_dir())
                found.setdefault(split, (path, images))
    return found


def read_coco(annotations: str | Path, images: str | Path) -> BoxData:
    """Read one annotation file.

    What is broken is left out or mended, and listed by file and id in ``problems``: a missing
    image or one of another shape than listed, a box without area or outside its image, a mask that
    cannot be read, an unknown category or image, an id used twice.

    Args:
        annotations: the JSON file.
        images: the folder that ``file_name`` starts from.

    Raises:
        ValueError: the file is not COCO's JSON at all.
        OSError: it cannot be read.
    """
    path, images = Path(annotations), Path(images)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed, boxes, kinds = (content[k] for k in ("images", "annotations", "categories"))
        names = {int(kind["id"]): str(kind["name"]) for kind in kinds}
        listed, boxes = list(listed), list(boxes)
    except KeyError as error:
        raise ValueError(f"{path} is not a COCO annotation file: it has no {error}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a COCO annotation file: {error}") from None
    notes = Collector(path.name)
    if len(names) < len(kinds):
        notes.note("duplicate id", "categories", "two categories share an id; the last one counts")
    ids = sorted(names)
    labels = {category: i + 1 for i, category in enumerate(ids)}
    known = _images(listed, images, notes)
    of_image: dict[Any, list[tuple[list[float], int, bool, Any]]] = {key: [] for key in known}
    seen: set[Any] = set()
    for entry in boxes:
        found = _annotation(entry, known, labels, seen, notes)
        if found is not None:
            of_image[entry["image_id"]].append(found)
    records = tuple(
        _record(key, where, width, height, of_image[key])
        for key, (where, width, height) in known.items()
        if where is not None
    )
    return BoxData(records, tuple(names[i] for i in ids), tuple(ids), tuple(notes.found))


_Known = dict[Any, tuple[Path | None, int, int]]


def _images(listed: Any, folder: Path, notes: Collector) -> _Known:
    """Return path (None if there is none), width and height of every image."""
    known: _Known = {}
    for entry in listed:
        try:
            key, name = _id(entry["id"]), str(entry["file_name"])
            width, height = int(entry["width"]), int(entry["height"])
            if min(width, height) < 1:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            notes.note("incomplete", f"image {entry!r:.60}", "lacks id, file_name, width or height")
            continue
        if key in known:
            notes.note("duplicate id", f"image {key}", f"{name} has the id of another; left out")
            continue
        path = folder / name
        if not path.is_file():
            notes.note(
                "missing image", f"image {key}", f"{name} is not in {folder.name}/; left out"
            )
            known[key] = (None, width, height)
            continue
        sound = sound_picture(path, width, height, f"image {key}", notes)
        known[key] = (path if sound else None, width, height)
    return known


def _id(value: Any) -> int | str:
    if not isinstance(value, int | str):
        raise TypeError
    return value


def _annotation(
    entry: Any, known: _Known, labels: dict[int, int], seen: set[Any], notes: Collector
) -> tuple[list[float], int, bool, Any] | None:
    """Return box, label, crowd and shape of one annotation, or None and a note."""
    try:
        key = None if entry.get("id") is None else _id(entry["id"])
        image, category = _id(entry["image_id"]), _id(entry["category_id"])
        x, y, w, h = (float(v) for v in entry["bbox"])
        box = [x, y, x + w, y + h]
    except (AttributeError, KeyError, TypeError, ValueError):
        notes.note("incomplete", f"annotation {entry!r:.60}", "lacks image, category or box")
        return None
    what = f"annotation {key}"
    if key is not None and key in seen:
        notes.note("duplicate id", what, "an id of another annotation; left out")
        return None
    seen.add(key)
    if image not in known:
        notes.note("unknown image", what, f"image {image} is not listed; left out")
        return None
    if category not in labels:
        notes.note("unknown category", what, f"category {category} is not listed; left out")
        return None
    where, width, height = known[image]
    if where is None:
        return None
    sound = sound_box(box, width, height, what, notes)
    if sound is None:
        return None
    shape = sound_shape(entry.get("segmentation"), what, notes)
    return sound, labels[category], bool(entry.get("iscrowd")), shape


def _record(
    key: Any,
    path: Path,
    width: int,
    height: int,
    found: list[tuple[list[float], int, bool, Any]],
) -> BoxRecord:
    return BoxRecord(
        id=key,
        image=path,
        width=width,
        height=height,
        boxes=np.array([f[0] for f in found], dtype=np.float32).reshape(-1, 4),
        labels=np.array([f[1] for f in found], dtype=np.int64),
        crowd=np.array([f[2] for f in found], dtype=bool),
        shapes=tuple(f[3] for f in found),
    )
