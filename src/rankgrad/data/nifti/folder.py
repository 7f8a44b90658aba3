"""The images in a folder."""

import fnmatch
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rankgrad.data.nifti.problems import DataError
from rankgrad.data.nifti.scan import Scan

__all__ = ["list_images", "stem"]

_ENDINGS = (".nii.gz", ".nii")
_BIDS = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)")


def list_images(images: str | Path, *, pattern: str = "*") -> tuple[Scan, ...]:
    """Return the NIfTI files of a folder as scans of unknown age and sex, to predict for.

    Args:
        images: the folder, searched with all folders in it.
        pattern: what names, relative to the folder, have to match: ``"*T1w*"``.

    Raises:
        DataError: there is no such folder, or no such file in it.
    """
    folder = Path(images)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = []
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        if name.endswith(_ENDINGS) and fnmatch.fnmatch(name, pattern):
            found.append(Scan(path, name, _subject(name), math.nan, None, "test"))
    if not found:
        matching = "" if pattern == "*" else f" that matches {pattern!r}"
        raise DataError(f"{folder} has no file .nii or .nii.gz{matching}")
    return tuple(found)


def _files(folder: Path) -> Iterator[Path]:
    """Every file in the folder and below, also behind links to folders."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        # Names that begin with a point are the system's: macOS writes "._scan.nii.gz".
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _subject(name: str) -> str:
    bids = _BIDS.findall(name)
    return str(bids[-1]) if bids else stem(name)


def stem(name: str) -> str:
    """Return the name of an image without ``.nii`` or ``.nii.gz``."""
    ending = next((e for e in _ENDINGS if name.endswith(e)), "")
    return name.removesuffix(ending)
