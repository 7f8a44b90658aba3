"""Small NIfTI files and tables for the tests."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SIZE = (12, 14, 12)


def write_volume(
    path: Path, shape: Sequence[int] = SIZE, *, spacing: float = 2.0, seed: int = 0
) -> Path:
    """A ball of noisy grey values in a background of 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:3]), indexing="ij")
    inside = sum(place**2 for place in places) < 0.9
    values = rng.integers(300, 900, size=shape[:3]) * inside
    frames = values.astype(np.int16).reshape(*shape[:3], *[1] * len(shape[3:]))
    data = np.broadcast_to(frames, tuple(shape))
    nibabel.save(nibabel.Nifti1Image(data, np.diag([spacing] * 3 + [1.0])), path)
    return path


def write_table(path: Path, rows: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def study(folder: Path, count: int = 20) -> tuple[Path, Path]:
    """Images scan0.nii.gz ... and a table of file, age and sex."""
    rows: list[list[Any]] = [["file", "age", "sex"]]
    for i in range(count):
        write_volume(folder / "images" / f"scan{i}.nii.gz", seed=i)
        rows.append([f"scan{i}.nii.gz", 20 + 3 * i, "FM"[i % 2]])
    return folder / "images", write_table(folder / "table.csv", rows)
