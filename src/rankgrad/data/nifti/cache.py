"""Prepared volumes as files: one each, memory-mapped, rebuilt when anything about it changes."""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankgrad.data.nifti.problems import DataError
from rankgrad.files import replacing

__all__ = ["VolumeCache"]

_VERSION = 1  # of what the files hold; to be raised when the preparation changes
_SUM = 4  # bytes of the checksum that follows the array


class VolumeCache:
    """Volumes in half precision, in files ``.npy`` with a checksum behind the array.

    A file is found by where its source lies, when that was changed, how long it is, and by the
    settings: change one of them, and another file is made. Several processes may share a folder.

    Args:
        folder: made if it is not there.
        size: of every volume.
        settings: of the preparation.
    """

    def __init__(
        self, folder: str | Path, size: tuple[int, int, int], settings: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        self.size = size
        self.settings = json.dumps([_VERSION, size, dict(settings)], sort_keys=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def place(self, source: Path) -> Path:
        """Return the file of a source.

        Raises:
            DataError: there is no such source.
        """
        try:
            state = source.stat()
        except OSError as error:
            raise DataError(f"{source} cannot be read: {error.strerror}") from None
        what = f"{source.resolve()}\n{state.st_mtime_ns}\n{state.st_size}\n{self.settings}"
        key = hashlib.sha256(what.encode()).hexdigest()[:20]
        return self.folder / f"{source.name.partition('.')[0][:40]}-{key}.npy"

    def load(self, place: Path) -> np.ndarray | None:
        """Map a file into memory; None if there is none, or not a whole one."""
        try:
            volume: np.ndarray = np.load(place, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return volume if volume.shape == self.size and volume.dtype == np.float16 else None

    def sound(self, place: Path) -> bool:
        """Whether a file is there and still holds what was written; reads all of it."""
        volume = self.load(place)
        if volume is None:
            return False
        with place.open("rb") as file:
            file.seek(-_SUM, os.SEEK_END)
            return file.read() == _checksum(np.asarray(volume))

    def store(self, place: Path, volume: np.ndarray) -> np.ndarray:
        """Write a file, all or nothing, and return what it will read as."""
        half = np.ascontiguousarray(volume, dtype=np.float16)
        with replacing(place) as partial, partial.open("wb") as file:
            np.save(file, half)
            file.write(_checksum(half))
        return half


def _checksum(volume: np.ndarray) -> bytes:
    return zlib.crc32(volume.data).to_bytes(_SUM, "little")
