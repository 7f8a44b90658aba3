"""Scans as tensors: items, cache, bad volumes, workers, augmentation."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.nifti_files import SIZE, study, write_volume
from rankgrad.data.nifti import (
    DataError,
    Problem,
    RandomMoves,
    Scan,
    ScanDataset,
    list_images,
    read_scans,
)
from rankgrad.data.nifti import dataset as module


def scans_of(folder: Path, count: int = 6) -> tuple[Scan, ...]:
    images, table = study(folder, count)
    found = read_scans(images, table, need=()).all
    return tuple(sorted(found, key=lambda scan: scan.age))


def test_an_item(tmp_path: Path) -> None:
    data = ScanDataset(scans_of(tmp_path), SIZE)
    assert len(data) == 6
    assert data.ages.tolist() == [20, 23, 26, 29, 32, 35]
    item = data[1]
    assert item["image"].shape == (1, *SIZE)
    assert item["image"].dtype == item["sex"].dtype == item["age"].dtype == torch.float32
    assert item["age"] == 23
    assert item["sex"].tolist() == [0, 1]
    assert item["index"] == 1
    assert data[-1]["index"] == 5
    assert item["image"][0, 0, 0, 0] == 0
    inside = item["image"][item["image"] != 0]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-2)
    with pytest.raises(IndexError, match="from -6 to 5, got 6"):
        data[6]


def test_what_is_unknown(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz")
    item = ScanDataset(list_images(tmp_path), SIZE)[0]
    assert item["sex"].tolist() == [0, 0]
    assert math.isnan(item["age"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (91, 0, 91)}, "size must be three lengths, got"),
        ({"spacing": 0.0}, "spacing must be above 0, got 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScanDataset([], **settings)


# ------------------------------------------------------------------ bad volumes


def broken(folder: Path) -> tuple[Scan, ...]:
    """Six scans, of which number 1 is cut short, 3 has another shape and 4 is gone."""
    scans = scans_of(folder)
    content = scans[1].path.read_bytes()
    scans[1].path.write_bytes(content[: len(content) // 2])
    write_volume(scans[3].path, (20, 14, 12))
    scans[4].path.unlink()
    return scans


@pytest.mark.parametrize("cached", [False, True])
def test_bad_volumes_are_left_out_and_listed(tmp_path: Path, cached: bool) -> None:
    told: list[Problem] = []
    steps: list[tuple[int, int]] = []
    cache = tmp_path / "cache" if cached else None
    data = ScanDataset(broken(tmp_path), SIZE, spacing=None, cache=cache, on_problem=told.append)
    problems = data.prepare(lambda *step: steps.append(step))
    assert [p.where for p in problems] == ["scan1.nii.gz", "scan3.nii.gz", "scan4.nii.gz"]
    assert problems[1].text == "is 20 x 14 x 12 voxels, not 12 x 14 x 12"
    assert data.skipped == told == problems
    assert steps[0] == (1, 6)
    assert steps[-1] == (6, 6)
    assert [data[i]["age"] for i in range(len(data))] == [20, 26, 35]
    assert data.prepare() == []
    assert len(data.skipped) == 3


def test_strict_refuses_them(tmp_path: Path) -> None:
    data = ScanDataset(broken(tmp_path), SIZE, strict=True)
    with pytest.raises(DataError, match=r"scan1.nii.gz: cannot be read: .*; strict was asked for"):
        data.prepare()
    with pytest.raises(DataError, match=r"scan4.nii.gz"):
        data[4]


def test_no_good_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("text")
    with pytest.raises(DataError, match=r"no volume can be used: a.nii: cannot be read"):
        ScanDataset(list_images(tmp_path), SIZE).prepare()


def test_a_volume_that_breaks_later_ends_no_run(tmp_path: Path) -> None:
    data = ScanDataset(scans_of(tmp_path), SIZE)
    data.prepare()
    data.scans[5].path.write_text("text")
    item = data[5]
    assert (item["index"], item["age"]) == (0, 20)
    assert data[5]["index"] == 0
    assert [problem.where for problem in data.skipped] == ["scan5.nii.gz"]
    for scan in data.scans:
        scan.path.unlink()
    with pytest.raises(DataError, match="no volume can be used any more"):
        data[0]


# ------------------------------------------------------------------ cache


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that are read."""
    names: list[str] = []
    original = module.read_volume

    def counted(path: Path) -> Any:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(module, "read_volume", counted)
    return names


def test_the_cache_gives_the_same_and_reads_nothing_again(tmp_path: Path, reads: list[str]) -> None:
    scans = scans_of(tmp_path)
    fresh = ScanDataset(scans, SIZE)
    expected = torch.stack([fresh[i]["image"] for i in range(6)])
    reads.clear()
    for _ in range(2):
        data = ScanDataset(scans, SIZE, cache=tmp_path / "cache")
        data.prepare()
        found = torch.stack([data[i]["image"] for i in range(6)])
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)  # half precision
    assert sorted(reads) == [scan.name for scan in scans]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 6


def test_a_change_of_source_or_settings_is_noticed(tmp_path: Path, reads: list[str]) -> None:
    scans = scans_of(tmp_path, 2)
    ScanDataset(scans, SIZE, cache=tmp_path / "cache").prepare()
    before = scans[0].path.stat().st_mtime_ns
    write_volume(scans[0].path, seed=77)
    os.utime(scans[0].path, ns=(before + 10**9, before + 10**9))
    reads.clear()
    data = ScanDataset(scans, SIZE, cache=tmp_path / "cache")
    image = data[0]["image"]
    assert reads == ["scan0.nii.gz"]
    assert torch.allclose(image, ScanDataset(scans, SIZE)[0]["image"], atol=2e-3)
    reads.clear()
    for settings in ({"spacing": 4.0}, {"standardize": "published"}, {"size": (10, 10, 10)}):
        other = ScanDataset(scans, **{"size": SIZE, **settings}, cache=tmp_path / "cache")
        assert other[1]["image"].shape[1:] == other.size
    assert reads == ["scan1.nii.gz"] * 3


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_cache_files_are_made_again(tmp_path: Path, reads: list[str], damage: str) -> None:
    scans = scans_of(tmp_path, 2)
    cache = tmp_path / "cache"
    data = ScanDataset(scans, SIZE, cache=cache)
    data.prepare()
    expected = data[0]["image"]
    file = next(cache.glob("scan0-*.npy"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad = {"cut": content[:-100], "flip": content, "empty": b"", "text": b"text"}[damage]
    file.write_bytes(bad)
    reads.clear()
    data = ScanDataset(scans, SIZE, cache=cache)
    assert data.prepare() == []
    assert reads == ["scan0.nii.gz"]
    assert torch.equal(data[0]["image"], expected)


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ScanDataset(scans_of(tmp_path, 1), SIZE, cache=tmp_path / "cache")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        data.prepare()
    assert list((tmp_path / "cache").iterdir()) == []


# ------------------------------------------------------------------ workers


def test_two_workers_give_the_same_batches(tmp_path: Path) -> None:
    scans = scans_of(tmp_path)
    data = ScanDataset(scans, SIZE, cache=tmp_path / "cache")
    data.prepare()
    alone, together = (
        list(DataLoader(data, batch_size=3, num_workers=workers)) for workers in (0, 2)
    )
    for first, second in zip(alone, together, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert together[0]["image"].shape == (3, 1, *SIZE)
    assert together[1]["index"].tolist() == [3, 4, 5]


def test_workers_survive_a_bad_volume(tmp_path: Path) -> None:
    data = ScanDataset(broken(tmp_path), SIZE, spacing=None)  # not prepared
    batches = list(DataLoader(data, batch_size=2, num_workers=2))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == [0, 2, 2, 5, 5, 5]


# ------------------------------------------------------------------ augmentation


@pytest.fixture(scope="module")
def moves() -> RandomMoves:
    return RandomMoves()


def test_moves_keep_shape_and_background(moves: RandomMoves) -> None:
    image = torch.zeros(1, 20, 24, 20)
    image[:, 6:14, 6:18, 6:14] = torch.rand(8, 12, 8) + 0.5
    torch.manual_seed(0)
    moved = [moves(image) for _ in range(20)]
    for one in moved:
        assert type(one) is torch.Tensor
        assert one.shape == image.shape
        assert one.dtype == torch.float32
        assert one[:, [0, -1]].abs().max() == 0
        assert one.max() <= image.max() + 1e-6
        assert one.sum() == pytest.approx(float(image.sum()), rel=0.05)
    assert all(not torch.equal(one, image) for one in moved)
    torch.manual_seed(0)
    assert all(torch.equal(one, moves(image)) for one in moved)


def test_half_are_mirrored() -> None:
    image = torch.zeros(1, 8, 8, 8)
    image[0, 0] = 1.0  # the left end
    still = RandomMoves(degrees=0.0, voxels=0.0)
    torch.manual_seed(1)
    mirrored = [bool(still(image)[0, -1].mean() > 0.99) for _ in range(100)]
    assert 30 < sum(mirrored) < 70


def test_workers_draw_differently_and_by_the_seed(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz")
    scan = list_images(tmp_path)[0]
    data = ScanDataset([scan] * 4, SIZE, augment=True)

    def images(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(data, batch_size=1, num_workers=2, generator=generator)
        return [batch["image"] for batch in loader]

    first = images(0)
    assert not any(torch.equal(first[i], first[j]) for i in range(4) for j in range(i))
    assert all(torch.equal(a, b) for a, b in zip(first, images(0), strict=True))


def test_a_function_may_augment(tmp_path: Path) -> None:
    scans = scans_of(tmp_path, 1)
    plain = ScanDataset(scans, SIZE)[0]["image"]
    assert torch.equal(ScanDataset(scans, SIZE, augment=torch.neg)[0]["image"], -plain)
