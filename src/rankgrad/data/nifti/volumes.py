"""One volume: read, brought to one grid, standardised."""

import gzip
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rankgrad.data.nifti.problems import DataError

__all__ = ["Standardize", "read_volume", "regrid", "standardize"]

Standardize = Literal["foreground", "published"]
_LEAST = 4  # voxels along an axis
# A whole head with its neck keeps half of its volume or more; a brain fills a quarter of the grid.
_KEPT = 0.25
_FILLED = 0.01


def read_volume(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI file, its axes turned to right, anterior, superior.

    A fourth dimension of length one is dropped; voxels that are no finite numbers become 0.

    Returns:
        The volume ``[x, y, z]``, float32, and its affine matrix ``[4, 4]``.

    Raises:
        DataError: the file cannot be read, is no single volume of grey values, or holds nothing.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ModuleNotFoundError:
        raise DataError("reading NIfTI files needs: pip install 'rankgrad[brain]'") from None
    path = Path(path)
    try:
        image: Any = _unzipped(path) if path.suffix == ".gz" else nibabel.load(path)
        shape = tuple(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or min(shape) < _LEAST:
            raise DataError(f"is no single volume: its shape is {_times(image.shape)}")
        if image.get_data_dtype().fields is not None:
            raise DataError("holds colours or pairs of numbers, not grey values")
        data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise DataError("has no usable affine matrix, so the size of its voxels is unknown")
        turned: Any = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine))
    except DataError:
        raise
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot be read: {reason}") from None
    volume = np.nan_to_num(np.asarray(turned.dataobj), nan=0.0, posinf=0.0, neginf=0.0)
    if not (volume > 0).any():
        raise DataError("has no voxel above 0")
    return np.ascontiguousarray(volume, dtype=np.float32), np.asarray(turned.affine)


def _unzipped(path: Path) -> Any:
    """Read the whole file first: nibabel would not come to the checksum at its end."""
    import nibabel

    content = gzip.decompress(path.read_bytes())
    second = content[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
    return (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)


def regrid(
    volume: np.ndarray,
    affine: np.ndarray,
    size: tuple[int, int, int],
    spacing: float | None,
) -> np.ndarray:
    """Resample to cubic voxels along the axes of the scanner, and crop or pad around the centre.

    Voxels that are already so are only cropped or padded, to the last bit. Finer volumes are
    smoothed before they are thinned out. Outside of the volume is 0.

    Args:
        volume: ``[x, y, z]``.
        affine: its matrix.
        size: voxels of the result.
        spacing: length of a voxel's edge in millimetres; None leaves the voxels, and takes no
            volume of another size.

    Raises:
        DataError: ``spacing`` is None and the volume has another size; or what is above 0 would
            all but get lost, as when voxels are not as long as the file says.
    """
    if spacing is None:
        if volume.shape != size:
            raise DataError(f"is {_times(volume.shape)} voxels, not {_times(size)}")
        return volume
    axes = affine[:3, :3]
    if np.allclose(axes, spacing * np.eye(3), atol=1e-3 * spacing):
        result = _cropped(volume, size)
    else:
        result = _resampled(volume, axes, size, spacing)
    before = np.count_nonzero(volume > 0) * abs(np.linalg.det(axes))
    after = np.count_nonzero(result > 0) * spacing**3
    filled = after / (spacing**3 * result.size)
    grid = f"{_times(size)} voxels of {spacing:g} mm"
    if after < _KEPT * before:
        raise DataError(f"does not fit: {after / before:.0%} of what is above 0 lies in {grid}")
    if filled < _FILLED:
        raise DataError(f"is too small: what is above 0 fills {filled:.1%} of {grid}")
    return result


def _resampled(
    volume: np.ndarray, axes: np.ndarray, size: tuple[int, int, int], spacing: float
) -> np.ndarray:
    from scipy import ndimage

    edges = np.linalg.norm(axes, axis=0)
    # Half of what is thinned out, in voxels: 2 mm from 1 mm smooths by half a voxel.
    widths = np.maximum(0.0, (spacing / edges - 1.0) / 2.0)
    if widths.any():
        volume = ndimage.gaussian_filter(volume, widths, truncate=3.0, mode="constant")
    matrix = np.linalg.inv(axes) * spacing
    centre, target = ((np.array(s) - 1) / 2 for s in (volume.shape, size))
    result: np.ndarray = ndimage.affine_transform(
        volume, matrix, centre - matrix @ target, output_shape=size, order=1, mode="constant"
    )
    return result


def _cropped(volume: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    result = np.zeros(size, dtype=volume.dtype)
    source, target = [], []
    for have, want in zip(volume.shape, size, strict=True):
        shift = (have - want) // 2
        source.append(slice(max(0, shift), max(0, shift) + min(have, want)))
        target.append(slice(max(0, -shift), max(0, -shift) + min(have, want)))
    result[tuple(target)] = volume[tuple(source)]
    return result


def standardize(volume: np.ndarray, how: Standardize = "foreground") -> np.ndarray:
    """Subtract the mean of the voxels above 0 and divide by their standard deviation.

    The others are the background: they become 0. In the code published with TSAN they take part
    in the deviation, as zeros, and become -mean/deviation; ``how="published"`` does that, for
    networks that were trained so.

    Raises:
        DataError: no voxel is above 0, or all of them are equal.
    """
    inside = volume > 0
    values = volume[inside].astype(np.float64)
    if not values.size or values.min() == values.max():
        raise DataError("has no two different values above 0 in the part that is used")
    mean, variance = float(values.mean()), float(values.var())
    if how == "foreground":
        result = np.where(inside, (volume - mean) / variance**0.5, 0.0)
    else:
        variance += mean**2 * (volume.size / values.size - 1)
        result = (np.where(inside, volume, 0.0) - mean) / variance**0.5
        result += np.where(inside, 0.0, volume)
    return result.astype(np.float32, copy=False)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
