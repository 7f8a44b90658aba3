"""Phantoms: what ages in them, and how they are written."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from rankgrad.data.nifti import ScanDataset, read_scans, write_phantoms
from rankgrad.data.nifti.phantoms import Phantom, draw_phantom, phantom_volume

SMALL = (24, 28, 24)


def columns(table: Path) -> dict[str, list[str]]:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def drawn(count: int = 2000) -> list[Phantom]:
    rng = np.random.default_rng(0)
    return [draw_phantom(rng) for _ in range(count)]


def test_ventricles_widen_and_the_cortex_thins_with_age() -> None:
    phantoms = drawn()
    values = {
        name: np.array([getattr(p, name) for p in phantoms])
        for name in ("age", "brain_age", "ventricles", "cortex", "sex", "head")
    }
    age = values["age"]
    assert 20 <= age.min() < 21
    assert 89 < age.max() <= 90

    def correlation(name: str) -> float:
        return float(np.corrcoef(age, values[name])[0, 1])

    # Clear marks of age, and none from which it could be read off.
    assert 0.7 < correlation("ventricles") < 0.95
    assert -0.97 < correlation("cortex") < -0.8
    assert abs(correlation("head")) < 0.1
    assert np.std(values["brain_age"] - age) == pytest.approx(4, abs=0.2)
    # Faster in the old, and in men; men have larger heads.
    young, old = age < 40, age > 70
    men = values["sex"] == 1
    assert values["ventricles"][old & men].mean() > 1.15 * values["ventricles"][old & ~men].mean()
    ratio = values["ventricles"][young & men].mean() / values["ventricles"][young & ~men].mean()
    assert ratio == pytest.approx(1, abs=0.06)
    assert values["head"][men].mean() > values["head"][~men].mean() + 0.03


def test_the_image_shows_the_truth() -> None:
    """Dark voxels in the middle are as many as the truth says, and grey ones follow the cortex."""
    phantoms = sorted(drawn(40), key=lambda p: p.ventricles)[::3]
    size = (48, 56, 48)
    dark, grey = [], []
    for i, phantom in enumerate(phantoms):
        image = phantom_volume(phantom, size, np.random.default_rng(i))
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
        middle = image[(x / 0.45) ** 2 + (y / 0.55) ** 2 + (z / 0.45) ** 2 < 1]
        white = np.median(middle)
        head = (image > 0).sum()
        dark.append((middle < 0.6 * white).sum() / head)
        grey.append(((image > 0.42 * white) & (image < 0.72 * white)).sum() / head)
    assert np.corrcoef(dark, [p.ventricles for p in phantoms])[0, 1] > 0.9
    assert np.corrcoef(grey, [p.cortex for p in phantoms])[0, 1] > 0.6
    # A head is 1, what is inside of its skull 0.86^3 of it.
    assert np.mean(dark) == pytest.approx(
        np.mean([p.ventricles for p in phantoms]) * 0.636, rel=0.3
    )


def test_files_and_table(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path, 20, SMALL, seed=3)
    assert table == tmp_path / "table.csv"
    content = columns(table)
    assert content["file"][0] == "sub-phantom0001_T1w.nii.gz"
    assert {"age", "sex", "brain_age", "ventricles", "cortex"} <= content.keys()
    assert [content["split"].count(s) for s in ("train", "validation", "test")] == [14, 3, 3]
    image = nibabel.load(tmp_path / "images" / content["file"][0])
    assert image.shape == SMALL
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    values = np.asarray(image.dataobj)
    assert values[0].max() == values[:, :, -1].max() == 0
    assert 0.2 < (values > 0).mean() < 0.6


def test_they_are_read_like_any_study(tmp_path: Path) -> None:
    scans = read_scans(tmp_path / "images", write_phantoms(tmp_path, 20, SMALL), need_sex=True)
    assert not scans.problems
    assert len(scans.train) == 14
    data = ScanDataset(scans.train, SMALL)
    assert data.prepare() == []
    exact = ScanDataset(scans.train, SMALL, spacing=None)
    assert np.array_equal(data[0]["image"], exact[0]["image"])
    assert read_scans(tmp_path, tmp_path / "table.csv").train[0].age == scans.train[0].age


def test_the_seed_fixes_them_and_nothing_is_written_twice(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path / "a", 6, SMALL, seed=1)
    first = sorted((tmp_path / "a" / "images").iterdir())
    before = [path.stat().st_mtime_ns for path in first]
    assert write_phantoms(tmp_path / "a", 6, SMALL, seed=1) == table
    assert [path.stat().st_mtime_ns for path in first] == before
    more = write_phantoms(tmp_path / "b", 8, SMALL, seed=1, splits=False)
    again = [nibabel.load(tmp_path / "b" / "images" / path.name) for path in first]
    for path, image in zip(first, again, strict=True):
        assert np.array_equal(nibabel.load(path).dataobj, image.dataobj)
    assert columns(more)["age"][:6] == columns(table)["age"]
    assert "split" not in columns(more)
    other = write_phantoms(tmp_path / "a", 6, SMALL, seed=2)
    assert columns(other)["age"] != columns(more)["age"][:6]


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count must be 1 or more and size at least 12"):
        write_phantoms(tmp_path, 0)
    with pytest.raises(ValueError, match="size at least 12"):
        write_phantoms(tmp_path, 3, (8, 8, 8))
