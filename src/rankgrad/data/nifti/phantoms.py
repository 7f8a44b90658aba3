"""Phantoms: generated T1-like heads that age, as real NIfTI files with a table.

They are no brains. They have the two marks of age that a network for brain age relies on most,
wide ventricles and a thin cortex, enough variation for the age not to be read off exactly, and a
known truth.
"""

import csv
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from rankgrad.data.nifti.problems import DataError

__all__ = ["Phantom", "draw_phantom", "phantom_volume", "write_phantoms"]

_VERSION = 1  # to be raised when other phantoms come out
_EDGE = 2.0  # millimetres, in any size: a small phantom is a small head
_HALF = np.array([0.80, 0.93, 0.86])  # of the head, as shares of half the volume
_SPLITS = ("train", "validation", "test")
# Grey values of T1-weighted images, white matter 1.
_CSF, _GREY, _WHITE, _SKULL, _SCALP = 0.22, 0.62, 1.0, 0.10, 0.75


@dataclass(frozen=True)
class Phantom:
    """What one phantom is made from; lengths are shares of half the head."""

    age: float
    """In years, 20 to 90, drawn evenly."""
    sex: int
    """0 female, 1 male: a larger head, whose ventricles widen faster."""
    brain_age: float
    """The age that the head looks like: the age and a normal deviation of 4 years."""
    ventricles: float
    """Volume, as a share of the head without scalp and skull."""
    cortex: float
    """Thickness."""
    brain: float
    """Radius of the brain: it shrinks away from the skull."""
    head: float
    """Size of the head, about 1."""


def draw_phantom(rng: np.random.Generator) -> Phantom:
    """Draw a phantom: both marks of age follow ``brain_age``, not evenly, and vary by themselves.

    With ``s = (brain_age - 20) / 70`` and ``m`` 1 for men, up to factors of 10 % (normal, of the
    logarithm) and 4 %:

        ventricles = 0.016 (1 + 0.4 s + (1.5 + 0.7 m) s^2.5)
        cortex     = 0.150 (1 - 0.10 s - 0.25 s^1.5)
    """
    age = float(rng.uniform(20, 90))
    sex = int(rng.integers(2))
    brain_age = age + float(rng.normal(0, 4))
    s = float(np.clip((brain_age - 20) / 70, 0, 1.2))
    ventricles = 0.016 * (1 + 0.4 * s + (1.5 + 0.7 * sex) * s**2.5)
    cortex = 0.150 * (1 - 0.10 * s - 0.25 * s**1.5)
    return Phantom(
        age=age,
        sex=sex,
        brain_age=brain_age,
        ventricles=ventricles * float(np.exp(rng.normal(0, 0.10))),
        cortex=cortex * float(np.exp(rng.normal(0, 0.04))),
        brain=float(0.97 - 0.05 * s**1.5 + rng.normal(0, 0.006)),
        head=float(0.95 + 0.04 * sex + rng.normal(0, 0.015)),
    )


def phantom_volume(
    phantom: Phantom, size: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Return the image of a phantom, ``[x, y, z]``, its background 0.

    ``rng`` draws what tells nothing of age: the position of the head, its folds, the bias field
    and the noise.
    """
    x, y, z = _placed(size, phantom.head, rng)
    radius = np.sqrt(x**2 + y**2 + z**2)
    blur = 1.2 / (min(size) * _HALF.min() / 2)  # of an edge: about a voxel

    def inside(depth: np.ndarray) -> np.ndarray:
        """1 where ``depth`` is above 0, 0 where it is below, and something between at the edge."""
        share: np.ndarray = np.clip(0.5 + depth / blur, 0.0, 1.0)
        return share

    # Furrows run where a wavy field passes zero.
    field = np.zeros_like(radius)
    for k in (6.0, 11.0):
        a, b, c = rng.uniform(0, 2 * np.pi, 3)
        field += np.sin(k * x + a) * np.sin(k * y + b) * np.sin(k * z + c)
    furrows = np.exp(-((field / 0.12) ** 2))
    skull, fluid = 0.92, 0.86  # outer radius of the skull, and of what is inside of it
    surface = phantom.brain * fluid - 0.10 * furrows
    image = np.full_like(radius, _SCALP)
    for depth, value in (
        (skull - radius, _SKULL),
        (fluid - radius, _CSF),
        (surface - radius, _GREY),
        (surface - phantom.cortex - radius, _WHITE),
    ):
        image += inside(depth) * (value - image)
    # The deep grey matter, and inside of it the ventricles: two horns that bend outwards behind.
    side = np.abs(x)
    deep = np.sqrt(
        ((side - 0.20) / 0.13) ** 2 + ((y + 0.02) / 0.24) ** 2 + ((z + 0.08) / 0.17) ** 2
    )
    image += inside((1 - deep) * 0.15) * (_GREY + 0.08 - image)
    # An ellipsoid of semi-axes w, 4w, 2w has the volume 8 w^3 4 pi / 3; there are two.
    w = (phantom.ventricles * fluid**3 / 16) ** (1 / 3)
    middle = 0.5 * w + 0.06 + 0.10 * np.clip(-y, 0, None)
    horn = np.sqrt(
        ((side - middle) / w) ** 2 + ((y + 0.05) / (4 * w)) ** 2 + ((z - 0.10) / (2 * w)) ** 2
    )
    image += inside((1 - horn) * w) * (_CSF - image)
    image *= _bias(x, y, z, rng)
    noise = rng.normal(0, 0.04, (2, *size))
    image = np.hypot(image + noise[0], noise[1])  # Rician, as of a magnitude image
    image *= float(rng.uniform(0.8, 1.25))
    result: np.ndarray = np.where(radius < 1, image, 0.0).astype(np.float32)
    return result


def _placed(
    size: tuple[int, int, int], head: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates in which the head is the unit ball, turned and shifted a little."""
    angles = np.radians(rng.normal(0, 3, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    half = np.array(size) / 2
    matrix = np.diag(1 / (_HALF * head * np.exp(rng.normal(0, 0.01, 3)))) @ turn
    shift = rng.normal(0, 0.012, 3)
    grid = np.meshgrid(
        *((np.arange(n) + 0.5 - h) / h for n, h in zip(size, half, strict=True)),
        indexing="ij",
        sparse=True,
    )
    x, y, z = (
        sum((m * (g - s) for m, g, s in zip(row, grid, shift, strict=True)), np.zeros(size))
        for row in matrix
    )
    return x, y, z


def _bias(x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth factor around 1, as coils leave it behind."""
    a = rng.normal(0, 0.05, 6)
    field: np.ndarray = a[0] * x + a[1] * y + a[2] * z + a[3] * x * y + a[4] * y * z + a[5] * z * z
    factor: np.ndarray = np.exp(field)
    return factor


def write_phantoms(
    folder: str | Path,
    count: int = 200,
    size: tuple[int, int, int] = (91, 109, 91),
    seed: int = 0,
    *,
    splits: bool = True,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> Path:
    """Write phantoms as ``images/sub-phantom0001_T1w.nii.gz`` ... and ``table.csv``.

    The table has the columns file, subject, age, sex, split, and as the truth those of
    :class:`Phantom`. If the folder already holds these very phantoms, nothing is written.

    Args:
        folder: made if it is not there.
        count: how many.
        size: voxels, of 2 mm each: a smaller volume is a smaller head.
        seed: phantom number i is the same in a folder of any count.
        splits: whether there is a column ``split``: 70, 15 and 15 per cent.
        progress: is told how many are written, of how many.
        threads: by default one for each core, eight at most.

    Returns:
        The path of the table.

    Raises:
        DataError: nibabel is not installed.
        ValueError: ``count`` or ``size`` is too small.
    """
    if count < 1 or min(size) < 12:
        raise ValueError(f"count must be 1 or more and size at least 12, got {count} and {size}")
    folder = Path(folder)
    table, stamp = folder / "table.csv", folder / "phantoms.json"
    wanted = json.dumps([_VERSION, count, list(size), seed, splits])
    if table.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return table
    (folder / "images").mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        made = [pool.submit(_write, folder / "images", i, size, seed) for i in range(count)]
        drawn = []
        try:
            for done, result in enumerate(made, start=1):
                drawn.append(result.result())
                if progress is not None:
                    progress(done, count)
        finally:
            pool.shutdown(cancel_futures=True)
    split_of = np.random.default_rng([seed, 1]).permutation(count)
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        truth = [field.name for field in fields(Phantom)]
        rows.writerow(["file", "subject", *(["split"] if splits else []), *truth])
        for i, (name, phantom) in enumerate(drawn):
            part = _SPLITS[int(np.searchsorted([0.7, 0.85], split_of[i] / count, side="right"))]
            values = [v if isinstance(v, int) else round(v, 5) for v in astuple(phantom)]
            subject = name.partition("_")[0]
            rows.writerow([name, subject, *([part] if splits else []), *values])
    stamp.write_text(wanted, encoding="utf-8")
    return table


def _write(folder: Path, i: int, size: tuple[int, int, int], seed: int) -> tuple[str, Phantom]:
    try:
        import nibabel
    except ModuleNotFoundError:
        raise DataError("writing NIfTI files needs: pip install 'rankgrad[brain]'") from None
    rng = np.random.default_rng([seed, 0, i])
    phantom = draw_phantom(rng)
    volume = phantom_volume(phantom, size, rng)
    affine = np.diag([_EDGE] * 3 + [1.0])
    affine[:3, 3] = -_EDGE * (np.array(size) - 1) / 2
    name = f"sub-phantom{i + 1:04d}_T1w.nii.gz"
    stored = np.round(volume * 1000).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(stored, affine), folder / name)
    return name, phantom
