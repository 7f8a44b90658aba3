"""Pascal VOC's object annotations: one XML file an image."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from rankgrad.data.annotations import Collector, Problem, sound_box, sound_picture
from rankgrad.data.boxes import BoxData, BoxRecord

__all__ = ["read_voc", "voc_categories", "voc_splits"]


def voc_splits(folder: str | Path) -> tuple[str, ...]:
    """Return the splits of a folder in VOC's layout; empty if it is no such."""
    folder = Path(folder)
    if not (folder / "Annotations").is_dir():
        return ()
    lists = sorted((folder / "ImageSets" / "Main").glob("*.txt"))
    return tuple(path.stem for path in lists if path.stem in ("train", "val", "test", "trainval"))


def voc_categories(folder: str | Path) -> tuple[str, ...]:
    """Return the names of all objects in all annotation files, sorted."""
    names: set[str] = set()
    for path in (Path(folder) / "Annotations").glob("*.xml"):
        try:
            root = ElementTree.parse(path).getroot()  # one's own data set
        except ElementTree.ParseError:
            continue  # reported when its split is read
        names |= {(o.findtext("name") or "").strip() for o in root.iter("object")}
    return tuple(sorted(names - {""}))


def read_voc(folder: str | Path, split: str, categories: Sequence[str] | None = None) -> BoxData:
    """Read one split.

    Boxes are taken as they stand, as edges in pixels. Objects marked difficult are left out of
    training and evaluation. What is broken is left out or mended, and listed by file and object in
    ``problems``.

    Args:
        folder: with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.
        split: a list in ``ImageSets/Main``.
        categories: names in the order of the labels; by default all that occur in any file.

    Raises:
        OSError: there is no such split.
    """
    folder = Path(folder)
    names = tuple(categories) if categories is not None else voc_categories(folder)
    listed = (folder / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8")
    problems: list[Problem] = []
    records: list[BoxRecord] = []
    seen: set[str] = set()
    for line in filter(None, map(str.strip, listed.splitlines())):
        name = _name(folder, line)
        notes = Collector(f"{name}.xml")
        if name in seen:
            notes.note("duplicate id", name, f"is listed twice in {split}.txt; left out once")
        else:
            seen.add(name)
            record = _read(folder, name, names, notes)
            if record is not None:
                records.append(record)
        problems += notes.found
    return BoxData(tuple(records), names, tuple(range(1, len(names) + 1)), tuple(problems))


def _name(folder: Path, line: str) -> str:
    """The image of a line, which in VOC's lists by class goes on with a -1, 0 or 1."""
    if (folder / "Annotations" / f"{line}.xml").is_file():
        return line
    return re.sub(r"\s+(-1|0|1)$", "", line)


def _read(
    folder: Path, name: str, categories: tuple[str, ...], notes: Collector
) -> BoxRecord | None:
    path = folder / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.parse(path).getroot()  # one's own data set
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
        if width < 1 or height < 1:
            raise ValueError(f"size {width} x {height}")
    except (OSError, ElementTree.ParseError, ValueError) as error:
        notes.note("unreadable", name, f"cannot be read ({error}); left out")
        return None
    image = _image(folder, name, root)
    if image is None:
        notes.note("missing image", name, "has no image in JPEGImages; left out")
        return None
    if not sound_picture(image, width, height, name, notes):
        return None
    boxes, labels, crowd = [], [], []
    for number, thing in enumerate(root.iter("object"), start=1):
        what = f"object {number}"
        category = (thing.findtext("name") or "").strip()
        if category not in categories:
            notes.note("unknown category", what, f"is a {category!r}; left out")
            continue
        corners = [thing.findtext(f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")]
        box = sound_box(corners, width, height, what, notes)
        if box is not None:
            boxes.append(box)
            labels.append(categories.index(category) + 1)
            crowd.append((thing.findtext("difficult") or "0").strip() == "1")
    return BoxRecord(
        id=name,
        image=image,
        width=width,
        height=height,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array(crowd, dtype=bool),
        shapes=(None,) * len(boxes),
    )


def _image(folder: Path, name: str, root: ElementTree.Element) -> Path | None:
    given = Path((root.findtext("filename") or "").strip()).name
    candidates = [f"{name}{suffix}" for suffix in (".jpg", ".jpeg", ".png")]
    for candidate in [*candidates, given]:
        path = folder / "JPEGImages" / candidate
        if candidate and path.is_file():
            return path
    return None
