"""One volume: reading, the grid, standardising."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data.nifti_files import SIZE, write_volume
from rankgrad.data.nifti import DataError
from rankgrad.data.nifti.volumes import read_volume, regrid, standardize


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def test_axes_are_turned_to_right_anterior_superior(tmp_path: Path) -> None:
    data = np.arange(1, 5 * 6 * 7 + 1, dtype=np.int16).reshape(5, 6, 7)
    upright = save(tmp_path / "ras.nii", data)
    # The same voxels stored as superior, left, anterior.
    other = np.zeros((4, 4))
    other[2, 0] = other[1, 2] = other[3, 3] = 1
    other[0, 1] = -1
    other[0, 3] = 4
    turned = save(tmp_path / "sla.nii", data.transpose(2, 0, 1)[:, ::-1], other)
    first, second = read_volume(upright), read_volume(turned)
    assert np.array_equal(first[0], data)
    assert np.array_equal(second[0], data)
    assert np.array_equal(first[1], second[1])


def test_one_frame_is_a_volume(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "frame.nii.gz", (*SIZE, 1))
    assert read_volume(path)[0].shape == SIZE


def test_scaled_integers_and_what_is_no_number(tmp_path: Path) -> None:
    data = np.ones((4, 4, 4), dtype=np.float32)
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    volume, _ = read_volume(save(tmp_path / "nan.nii", data))
    assert volume[0, 0].tolist() == [0, 0, 0, 1]
    image = nibabel.Nifti1Image(np.full((4, 4, 4), 3, np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 1.0)
    nibabel.save(image, tmp_path / "slope.nii")
    volume, _ = read_volume(tmp_path / "slope.nii")
    assert volume.dtype == np.float32
    assert np.allclose(volume, nibabel.load(tmp_path / "slope.nii").get_fdata())


def test_bad_files_are_named_by_what_is_wrong(tmp_path: Path) -> None:
    whole = write_volume(tmp_path / "whole.nii.gz", (40, 40, 40))
    content = whole.read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    plain = gzip.decompress(content)
    (tmp_path / "cut.nii").write_bytes(plain[: len(plain) // 2])
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    (tmp_path / "flipped.nii.gz").write_bytes(bytes(flipped))
    (tmp_path / "text.nii.gz").write_text("not an image")
    (tmp_path / "empty.nii").touch()
    write_volume(tmp_path / "series.nii", (8, 8, 8, 5))
    write_volume(tmp_path / "flat.nii", (40, 40, 1))
    save(tmp_path / "zero.nii", np.zeros((8, 8, 8), np.int16))
    colours = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(tmp_path / "colours.nii", colours)
    for name, message in {
        "none.nii": "cannot be read",
        "cut.nii.gz": "cannot be read",
        "cut.nii": "cannot be read",
        "flipped.nii.gz": "cannot be read",
        "text.nii.gz": "cannot be read",
        "empty.nii": "cannot be read",
        "series.nii": "no single volume: its shape is 8 x 8 x 8 x 5",
        "flat.nii": "no single volume: its shape is 40 x 40 x 1",
        "zero.nii": "no voxel above 0",
        "colours.nii": "colours",
    }.items():
        with pytest.raises(DataError, match=message):
            read_volume(tmp_path / name)


# ------------------------------------------------------------------ the grid


def bump(shape: tuple[int, int, int], spacing: float, centre: tuple[float, ...]) -> np.ndarray:
    """A smooth bump around a point given in millimetres from the centre of the volume."""
    places = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * spacing for n in shape), indexing="ij", sparse=True
    )
    distance = sum((place - c) ** 2 for place, c in zip(places, centre, strict=True))
    return np.exp(-distance / (2 * 6.0**2)).astype(np.float32)


def test_what_fits_is_left_as_it_is() -> None:
    volume = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    two = np.diag([2.0, 2.0, 2.0, 1.0])
    assert np.array_equal(regrid(volume, two, (9, 10, 11), 2.0), volume)
    assert np.array_equal(regrid(volume, np.eye(4), (9, 10, 11), None), volume)
    cut = regrid(volume, two, (7, 10, 13), 2.0)
    assert np.array_equal(cut[:, :, 1:-1], volume[1:-1])
    assert not cut[:, :, [0, -1]].any()
    with pytest.raises(DataError, match="is 9 x 10 x 11 voxels, not 9 x 10 x 12"):
        regrid(volume, two, (9, 10, 12), None)


@pytest.mark.parametrize(("spacing", "error"), [(1.0, 0.06), (3.0, 0.09)])
def test_resampling_keeps_places_and_values(spacing: float, error: float) -> None:
    shape = (round(60 / spacing), round(72 / spacing), round(60 / spacing))
    centre = (5.0, -7.0, 4.0)
    affine = np.diag([spacing] * 3 + [1.0])
    result = regrid(bump(shape, spacing, centre), affine, (30, 36, 30), 2.0)
    assert np.abs(result - bump((30, 36, 30), 2.0, centre)).max() < error


def test_a_turned_head_is_put_upright() -> None:
    """Scanner axes count, not those of the stack of slices."""
    angle = np.radians(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = 2 * turn
    # A point p in scanner axes lies at turn^-1 p in the slices.
    centre = np.array([8.0, 3.0, -5.0])
    volume = bump((40, 40, 40), 2.0, tuple(turn.T @ centre))
    result = regrid(volume, affine, (36, 36, 36), 2.0)
    assert np.abs(result - bump((36, 36, 36), 2.0, tuple(centre))).max() < 0.04


def test_fine_detail_is_averaged_not_picked() -> None:
    stripes = np.zeros((40, 40, 40), np.float32)
    stripes[::2] = 1.0
    result = regrid(stripes, np.eye(4), (8, 8, 8), 4.0)
    assert np.abs(result - 0.5).max() < 0.05


def test_a_head_of_the_wrong_size_is_refused() -> None:
    head = np.ones((30, 30, 30), np.float32)
    for spacing, message in [
        (8.0, r"does not fit: 14% of what is above 0 lies in 62 x 62 x 62 voxels of 2 mm"),
        (0.4, r"is too small: what is above 0 fills 0.\d% of 62 x 62 x 62 voxels of 2 mm"),
    ]:
        affine = np.diag([spacing] * 3 + [1.0])
        with pytest.raises(DataError, match=message):
            regrid(head, affine, (62, 62, 62), 2.0)


# ------------------------------------------------------------------ standardising


def test_the_foreground_has_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(0)
    volume = np.where(rng.random((8, 8, 8)) < 0.5, rng.uniform(50, 90, (8, 8, 8)), -1.0)
    result = standardize(volume)
    inside = volume > 0
    assert result.dtype == np.float32
    assert result[inside].mean() == pytest.approx(0, abs=1e-6)
    assert result[inside].std() == pytest.approx(1, abs=1e-6)
    assert not result[~inside].any()
    for flat in (np.zeros((4, 4, 4)), np.full((4, 4, 4), 5.0), np.eye(4)[None] * 3):
        with pytest.raises(DataError, match="no two different values above 0"):
            standardize(flat)


def test_as_published_the_background_takes_part_in_the_deviation() -> None:
    volume = np.array([[[0.0, 2.0, 4.0, 0.0]]])
    # mean 3; deviation: the root of ((2-3)^2 + (4-3)^2 + 2 (0-3)^2) / 2
    deviation = 10.0**0.5
    expected = (volume - 3.0) / deviation
    assert np.allclose(standardize(volume, "published"), expected)
