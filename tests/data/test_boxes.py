"""Images with boxes: COCO's and VOC's files, what is wrong with them, and scenes of digits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rankgrad.data.boxes import BoxDataset, BoxRecord, ellipses
from rankgrad.data.coco import coco_splits, read_coco
from rankgrad.data.scenes import digit_scenes
from rankgrad.data.voc import read_voc, voc_categories, voc_splits
from support import shared_data


def picture(path: Path, width: int = 40, height: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (10, 20, 30)).save(path)


# ---------------------------------------------------------------- COCO


def coco_file(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 40, "height": 20},
            {"id": 9, "file_name": "b.jpg", "width": 40, "height": 20},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 10, 5]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 20], "iscrowd": 1},
        ],
    }
    for key, entries in changes.items():
        content[key] = content[key] + entries
    for name in ("a.jpg", "b.jpg"):
        picture(folder / "train" / name)
    (folder / "train" / "letter.jpg").write_text("dear all")
    path = folder / "annotations" / "instances_train.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_coco_is_read_with_labels_in_the_order_of_the_ids(tmp_path: Path) -> None:
    coco_file(tmp_path)
    data = read_coco(*coco_splits(tmp_path)["train"])
    assert data.categories == ("car", "dog")
    assert data.category_ids == (3, 18)
    first, second = data.records
    assert first.boxes.tolist() == [[1, 2, 11, 7], [0, 0, 40, 20]]
    assert first.labels.tolist() == [2, 1]
    assert first.crowd.tolist() == [False, True]
    assert second.boxes.shape == (0, 4)
    assert data.problems == ()
    assert data.summary() == "2 images, 1 objects, 2 categories"


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing image": (
        {"images": [{"id": 1, "file_name": "gone.jpg", "width": 9, "height": 9}]},
        "image 1",
        "gone.jpg is not in train/",
    ),
    "duplicate id": (
        {"annotations": [{"id": 1, "image_id": 9, "category_id": 3, "bbox": [1, 1, 2, 2]}]},
        "annotation 1",
        "an id of another annotation",
    ),
    "unknown category": (
        {"annotations": [{"id": 5, "image_id": 9, "category_id": 4, "bbox": [1, 1, 2, 2]}]},
        "annotation 5",
        "category 4 is not listed",
    ),
    "unknown image": (
        {"annotations": [{"id": 5, "image_id": 8, "category_id": 3, "bbox": [1, 1, 2, 2]}]},
        "annotation 5",
        "image 8 is not listed",
    ),
    "no area": (
        {"annotations": [{"id": 5, "image_id": 9, "category_id": 3, "bbox": [1, 1, 0, 2]}]},
        "annotation 5",
        "box 1, 1, 1, 3 has no area",
    ),
    "outside the image": (
        {"annotations": [{"id": 5, "image_id": 9, "category_id": 3, "bbox": [50, 1, 5, 5]}]},
        "annotation 5",
        "lies outside; left out",
    ),
    "not a number": (
        {
            "annotations": [
                {"id": 5, "image_id": 9, "category_id": 3, "bbox": [float("nan"), 1, 5, 5]}
            ]
        },
        "annotation 5",
        "is not finite",
    ),
    "another shape": (
        {"images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 40}]},
        "image 1",
        "a.jpg is 40 x 20, listed as 20 x 40; left out",
    ),
    "unreadable image": (
        {"images": [{"id": 1, "file_name": "letter.jpg", "width": 20, "height": 40}]},
        "image 1",
        "letter.jpg is no picture; left out",
    ),
    "incomplete": (
        {"annotations": [{"id": 5, "category_id": 3, "bbox": [1, 1, 5]}]},
        "annotation {'id': 5",
        "lacks image, category or box",
    ),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_what_is_broken_in_coco_is_reported_by_file_and_id(tmp_path: Path, kind: str) -> None:
    changes, what, text = BROKEN[kind]
    path = coco_file(tmp_path, **changes)
    data = read_coco(path, tmp_path / "train")
    (problem,) = data.problems
    assert problem.kind == kind
    assert problem.file == "instances_train.json"
    assert problem.id.startswith(what)
    assert text in problem.text
    assert [len(r.boxes) for r in data.records] == [2, 0]  # the rest is as it was
    assert f"{kind} 1" in data.summary()


@pytest.mark.parametrize(
    "shape",
    [
        {"size": [20, 40], "counts": [3]},
        {"size": [20, 40]},
        [["a", 1, 2, 3, 4, 5]],
        [[1, 2, 3]],
        [5.0, 5],
        7,
    ],
)
def test_a_mask_that_cannot_be_read_leaves_its_box(tmp_path: Path, shape: Any) -> None:
    entry = {
        "id": 5, "image_id": 9, "category_id": 3, "bbox": [1, 1, 5, 5], "segmentation": shape
    }  # fmt: skip
    data = read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path / "train")
    (problem,) = data.problems
    assert str(problem) == (
        "instances_train.json: annotation 5: the segmentation cannot be read; the box has no mask"
    )
    assert data.records[1].boxes.tolist() == [[1, 1, 6, 6]]
    assert data.records[1].shapes == (None,)


@pytest.mark.parametrize(
    "entry",
    [
        {"id": [5], "image_id": 9, "category_id": 3, "bbox": [1, 1, 5, 5]},
        {"id": 5, "image_id": {"a": 9}, "category_id": 3, "bbox": [1, 1, 5, 5]},
        {"id": 5, "image_id": 9, "category_id": [3], "bbox": [1, 1, 5, 5]},
        {"id": 5, "image_id": 9, "category_id": 3, "bbox": "none"},
        [5, 9, 3],
    ],
)
def test_an_annotation_of_the_wrong_types_is_incomplete(tmp_path: Path, entry: Any) -> None:
    data = read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path / "train")
    assert [problem.kind for problem in data.problems] == ["incomplete"]
    assert data.objects == 1


@pytest.mark.parametrize("change", [{"width": 0}, {"height": None}, {"id": [1]}, {"file_name": 7}])
def test_an_image_of_the_wrong_types_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    entry = {"id": 1, "file_name": "a.jpg", "width": 40, "height": 20, **change}
    data = read_coco(coco_file(tmp_path, images=[entry]), tmp_path / "train")
    assert [problem.kind for problem in data.problems] in (["incomplete"], ["missing image"])
    assert len(data) == 2


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    entry = {"id": 5, "image_id": 9, "category_id": 3, "bbox": ["1", "2", "10", "5"]}
    data = read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path / "train")
    assert data.problems == ()
    assert data.records[1].boxes.tolist() == [[1, 2, 11, 7]]


def test_a_picture_in_another_resolution_is_the_same_picture(tmp_path: Path) -> None:
    entry = {"id": 1, "file_name": "a.jpg", "width": 403, "height": 200}
    data = read_coco(coco_file(tmp_path, images=[entry]), tmp_path / "train")
    assert data.problems == ()


@pytest.mark.parametrize("text", ["[1, 2]", '{"images": [], "categories": []}', "{", b"\xe4"])
def test_what_is_no_coco_file_is_said_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    path = coco_file(tmp_path)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"instances_train\.json is not a COCO") as caught:
        read_coco(path, tmp_path / "train")
    assert len(str(caught.value)) < 300


def test_a_torn_picture_is_named(tmp_path: Path) -> None:
    data = read_coco(coco_file(tmp_path), tmp_path / "train")
    torn = tmp_path / "train" / "b.jpg"
    torn.write_bytes(torn.read_bytes()[:-40])
    with pytest.raises(OSError, match=r"b\.jpg cannot be read"):
        BoxDataset(data, 10)[1]


def test_a_box_that_reaches_outside_is_cut_off(tmp_path: Path) -> None:
    entry = {"id": 5, "image_id": 9, "category_id": 3, "bbox": [30, 10, 20, 5]}
    data = read_coco(coco_file(tmp_path, annotations=[entry]), tmp_path / "train")
    assert data.records[1].boxes.tolist() == [[30, 10, 40, 15]]
    assert [p.text.endswith("cut off") for p in data.problems] == [True]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is not a COCO annotation file"):
        read_coco(path, tmp_path)


def test_layouts_of_coco_folders(tmp_path: Path) -> None:
    for name in ("instances_train2017", "instances_val2017", "captions_train2017"):
        path = tmp_path / "one" / "annotations" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        (tmp_path / "one" / name.removeprefix("instances_")).mkdir()
    found = coco_splits(tmp_path / "one")
    assert {k: v[1].name for k, v in found.items()} == {"train": "train2017", "val": "val2017"}
    for name in ("train", "valid", "test"):
        path = tmp_path / "two" / name / "_annotations.coco.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert sorted(coco_splits(tmp_path / "two")) == ["test", "train", "val"]
    assert coco_splits(tmp_path) == {}


# ---------------------------------------------------------------- masks


def mask_of(shape: Any, box: list[float]) -> np.ndarray:
    record = BoxRecord(
        id=1,
        image=np.zeros((20, 40, 3), dtype=np.uint8),
        width=40,
        height=20,
        boxes=np.array([box], dtype=np.float32),
        labels=np.array([1]),
        crowd=np.array([False]),
        shapes=(shape,),
    )
    from rankgrad.data.boxes import rasterize

    found: np.ndarray = rasterize(shape, box, record, (20, 40))
    return found


def test_masks_from_polygons_run_lengths_arrays_and_boxes() -> None:
    square = mask_of([[5, 5, 15, 5, 15, 15, 5, 15]], [5.0, 5.0, 15.0, 15.0])
    assert square[6:14, 6:14].all()
    assert not square[:4].any()
    # Run lengths go down the columns: 100 pixels of background are five columns of twenty.
    runs = mask_of({"size": [20, 40], "counts": [100, 40, 660]}, [5.0, 0.0, 7.0, 20.0])
    assert runs[:, 5:7].all()
    assert runs.sum() == 40
    ellipse = mask_of("ellipse", [10.0, 0.0, 30.0, 20.0])
    assert ellipse[10, 20]
    assert not ellipse[1, 11]
    assert ellipse.sum() == pytest.approx(np.pi * 100, rel=0.05)
    array = np.zeros((20, 40), dtype=bool)
    array[3:6, 4:9] = True
    assert (mask_of(array, [4.0, 3.0, 9.0, 6.0]) == array).all()
    assert not mask_of(None, [0.0, 0.0, 5.0, 5.0]).any()


def test_compressed_run_lengths() -> None:
    mask = pytest.importorskip("faster_coco_eval.core.mask")
    array = np.zeros((20, 40), dtype=np.uint8)
    array[3:9, 7:20] = 1
    encoded = mask.encode(np.asfortranarray(array))
    assert (mask_of(encoded, [7.0, 3.0, 20.0, 9.0]) == array.astype(bool)).all()


# ---------------------------------------------------------------- Pascal VOC

THING = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin>"
    "<ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def thing(*corners: Any, name: str = "cat", difficult: int = 0) -> str:
    return THING.format(*corners, name=name, difficult=difficult)


def voc_folder(folder: Path, files: dict[str, str], *, split: str = "train") -> Path:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, things in files.items():
        size = "<size><width>40</width><height>20</height></size>"
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename>{size}{things}</annotation>"
        )
        picture(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(files))
    return folder


def test_voc_is_read(tmp_path: Path) -> None:
    things = thing(1, 2, 11, 7) + thing(5, 5, 9, 9, name="ant", difficult=1)
    voc_folder(tmp_path, {"one": things, "two": ""})
    assert voc_splits(tmp_path) == ("train",)
    assert voc_categories(tmp_path) == ("ant", "cat")
    data = read_voc(tmp_path, "train")
    assert data.records[0].boxes.tolist() == [[1, 2, 11, 7], [5, 5, 9, 9]]
    assert data.records[0].labels.tolist() == [2, 1]
    assert data.records[0].crowd.tolist() == [False, True]
    assert len(data.records[1].boxes) == 0
    assert data.problems == ()


def test_voc_lists_hold_a_name_a_line(tmp_path: Path) -> None:
    folder = voc_folder(tmp_path, dict.fromkeys(("slide 1", "b", "c"), thing(1, 2, 11, 7)))
    lists = folder / "ImageSets" / "Main" / "train.txt"
    lists.write_text("slide 1\nb  1\n\nc -1\n")
    data = read_voc(folder, "train")
    assert [r.id for r in data.records] == ["slide 1", "b", "c"]
    assert data.problems == ()


def test_voc_pictures_must_have_the_shape_that_the_file_says(tmp_path: Path) -> None:
    folder = voc_folder(tmp_path, dict.fromkeys(("a", "b"), thing(1, 2, 11, 7)))
    picture(folder / "JPEGImages" / "b.jpg", 20, 40)
    data = read_voc(folder, "train")
    assert [r.id for r in data.records] == ["a"]
    assert [(p.file, p.id, p.kind) for p in data.problems] == [("b.xml", "b", "another shape")]


def test_what_is_broken_in_voc_is_reported_by_file_and_object(tmp_path: Path) -> None:
    things = thing(1, 2, 11, 7) + thing(3, 3, 3, 9) + thing(1, 1, 2, "x") + thing(50, 1, 60, 9)
    folder = voc_folder(
        tmp_path, {"good": things, "torn": "", "blind": "", "odd": thing(1, 1, 5, 5)}
    )
    (folder / "Annotations" / "torn.xml").write_text("<annotation>")
    (folder / "JPEGImages" / "blind.jpg").unlink()
    lists = folder / "ImageSets" / "Main" / "train.txt"
    lists.write_text(lists.read_text() + "\nlost\ngood")
    data = read_voc(folder, "train", categories=("dog",))
    assert [r.id for r in data.records] == ["good", "odd"]
    found = {(p.file, p.id, p.kind) for p in data.problems}
    assert {
        ("torn.xml", "torn", "unreadable"),
        ("lost.xml", "lost", "unreadable"),
        ("blind.xml", "blind", "missing image"),
        ("odd.xml", "object 1", "unknown category"),
        ("good.xml", "good", "duplicate id"),
    } <= found
    kinds = {(p.id, p.kind) for p in read_voc(folder, "train").problems if p.file == "good.xml"}
    assert {
        ("object 2", "no area"),
        ("object 3", "not a number"),
        ("object 4", "outside the image"),
    } <= kinds
    assert not data.usable


def test_real_blood_cells() -> None:
    folder = shared_data("bccd")
    data = read_voc(folder, "train")
    assert data.categories == ("Platelets", "RBC", "WBC")
    assert data.summary().startswith("205 images, 2804 objects")
    (problem,) = data.problems
    assert (problem.file, problem.kind) == ("BloodImage_00343.xml", "no area")
    image, target = BoxDataset(data, 96)[0]
    assert image.shape == (3, 96, 128)
    assert (target["boxes"][:, 2] <= 128).all()


# ---------------------------------------------------------------- scenes, and the data set


def test_scenes_are_fixed_by_the_seed_and_boxes_fit_tightly() -> None:
    data, again = digit_scenes(5, size=96), digit_scenes(5, size=96)
    other = digit_scenes(5, size=96, seed=1)
    assert all((a.image == b.image).all() for a, b in zip(data.records, again.records, strict=True))
    assert any((a.image != b.image).any() for a, b in zip(data.records, other.records, strict=True))
    for record in data.records:
        assert 1 <= len(record.boxes) <= 6
        for box, mask in zip(record.boxes, record.shapes, strict=True):
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert data.categories == tuple("0123456789")


def test_items_are_scaled_with_boxes_and_masks() -> None:
    data = digit_scenes(2, size=96)
    image, target = BoxDataset(data, 48, masks=True)[0]
    assert image.shape == (3, 48, 48)
    assert image.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1
    np.testing.assert_allclose(target["boxes"], data.records[0].boxes / 2)
    assert target["masks"].shape == (len(target["labels"]), 48, 48)
    kept = BoxDataset(data, 48, keep=True)
    kept[0][1]["boxes"] = torch.zeros(0)  # what is kept is not what was handed out
    np.testing.assert_allclose(kept[0][1]["boxes"], target["boxes"])


def test_crowd_regions_are_no_targets_and_ellipses_are_masks() -> None:
    data = digit_scenes(1, size=64, most=3)
    (record,) = data.records
    crowd = np.zeros(len(record.boxes), dtype=bool)
    crowd[0] = True
    changed = BoxRecord(**{**record.__dict__, "crowd": crowd})
    only = type(data)((changed,), data.categories, data.category_ids)
    assert len(BoxDataset(only)[0][1]["boxes"]) == len(record.boxes) - 1
    _, target = BoxDataset(ellipses(data), masks=True)[0]
    areas = (record.boxes[:, 2:] - record.boxes[:, :2]).prod(1)
    np.testing.assert_allclose(target["masks"].sum((1, 2)).numpy() / areas, np.pi / 4, atol=0.12)
