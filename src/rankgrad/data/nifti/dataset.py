"""Scans as a dataset of tensors for training."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rankgrad.data.nifti.augment import RandomMoves
from rankgrad.data.nifti.cache import VolumeCache
from rankgrad.data.nifti.problems import DataError, Problem
from rankgrad.data.nifti.scan import Scan
from rankgrad.data.nifti.volumes import Standardize, read_volume, regrid, standardize

__all__ = ["ScanDataset"]


class ScanDataset(Dataset[dict[str, Any]]):
    """Volumes on one grid, standardised, with age and sex.

    An item is a dictionary:

    - ``image``: float32 ``[1, *size]``, axes right, anterior, superior;
    - ``age``: float32, NaN where it is unknown;
    - ``sex``: float32 ``[2]``, (1, 0) female, (0, 1) male, (0, 0) unknown;
    - ``index``: which of ``scans`` it is.

    Call :meth:`prepare` before training: it finds the volumes that cannot be used and leaves them
    out, and fills the cache. A volume that breaks later does not end the run: the next one takes
    its place, with its own age and index.

    Args:
        scans: what :func:`rankgrad.data.nifti.read_scans` found.
        size: voxels of each volume.
        spacing: edge of a voxel in millimetres; None takes volumes as they are, and none of
            another size. See :func:`rankgrad.data.nifti.volumes.regrid`.
        augment: mirror, shift and rotate at random; or a function from image to image.
        cache: a folder for prepared volumes; None prepares them at every access.
        standardize: see :func:`rankgrad.data.nifti.volumes.standardize`.
        strict: raise for volumes that cannot be used.
        on_problem: is told of each of them.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        size: tuple[int, int, int] = (91, 109, 91),
        *,
        spacing: float | None = 2.0,
        augment: bool | Callable[[Tensor], Tensor] = False,
        cache: str | Path | None = None,
        standardize: Standardize = "foreground",
        strict: bool = False,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"size must be three lengths, got {size}")
        if spacing is not None and spacing <= 0:
            raise ValueError(f"spacing must be above 0, got {spacing}")
        if standardize not in get_args(Standardize):
            options = ", ".join(get_args(Standardize))
            raise ValueError(f"standardize must be one of {options}, got {standardize!r}")
        self.scans = tuple(scans)
        self.size = (size[0], size[1], size[2])
        self.spacing = spacing
        self.standardize = standardize
        self.strict = strict
        self.skipped: list[Problem] = []
        self._on_problem = on_problem
        if augment is True:
            background: Any = 0.0 if standardize == "foreground" else "minimum"
            augment = RandomMoves(voxels=min(size) / 45, background=background)
        self._moves = augment or None
        settings = {"spacing": spacing, "standardize": standardize}
        self._cache = None if cache is None else VolumeCache(cache, self.size, settings)

    def __len__(self) -> int:
        return len(self.scans)

    @property
    def ages(self) -> Tensor:
        """The age of every scan, ``[n]``, without reading an image."""
        return torch.tensor([scan.age for scan in self.scans])

    def prepare(
        self,
        progress: Callable[[int, int], None] | None = None,
        *,
        threads: int | None = None,
    ) -> list[Problem]:
        """Read every volume once, fill the cache, and leave out what cannot be used.

        What lies in the cache is checked, and rebuilt if it is damaged.

        Args:
            progress: is told how many volumes are done, of how many.
            threads: by default one for each core, eight at most.

        Returns:
            What is wrong with the scans left out now; ``skipped`` has those of earlier calls too.

        Raises:
            DataError: a volume cannot be used and ``strict`` is set; or none can be used.
        """
        problems: list[Problem] = []
        kept = []
        with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
            checks = [pool.submit(self._check, scan) for scan in self.scans]
            try:
                for done, (scan, check) in enumerate(zip(self.scans, checks, strict=True), start=1):
                    problem = check.result()
                    if problem is None:
                        kept.append(scan)
                    else:
                        self._report(problem)
                        problems.append(problem)
                    if progress is not None:
                        progress(done, len(checks))
            finally:
                pool.shutdown(cancel_futures=True)
        if self.scans and not kept:
            raise DataError(f"no volume can be used: {problems[0]}")
        self.scans = tuple(kept)
        return problems

    def __getitem__(self, index: int) -> dict[str, Any]:
        n = len(self.scans)
        if not -n <= index < n:
            raise IndexError(f"index must be from {-n} to {n - 1}, got {index}")
        for place in range(index % n, index % n + n):
            scan = self.scans[place % n]
            try:
                volume = self.volume(scan)
            except DataError as error:
                self._report(_problem(scan, error))
            else:
                return self._item(place % n, scan, volume)
        raise DataError("no volume can be used any more")

    def volume(self, scan: Scan) -> np.ndarray:
        """Return one prepared volume, from the cache if it lies there.

        Raises:
            DataError: it cannot be used; the message names the file.
        """
        if self._cache is None:
            return self._prepared(scan)
        place = self._cache.place(scan.path)
        found = self._cache.load(place)
        return self._cache.store(place, self._prepared(scan)) if found is None else found

    def _prepared(self, scan: Scan) -> np.ndarray:
        try:
            volume, affine = read_volume(scan.path)
            return standardize(regrid(volume, affine, self.size, self.spacing), self.standardize)
        except DataError as error:
            raise DataError(f"{scan.path} {error}") from None

    def _item(self, index: int, scan: Scan, volume: np.ndarray) -> dict[str, Any]:
        image = torch.from_numpy(np.array(volume, dtype=np.float32)).unsqueeze(0)
        sex = torch.zeros(2)
        if scan.sex is not None:
            sex[scan.sex] = 1.0
        return {
            "image": image if self._moves is None else self._moves(image),
            "age": torch.tensor(scan.age),
            "sex": sex,
            "index": index,
        }

    def _check(self, scan: Scan) -> Problem | None:
        try:
            if self._cache is not None:
                place = self._cache.place(scan.path)
                if self._cache.sound(place):
                    return None
                place.unlink(missing_ok=True)
            self.volume(scan)
        except DataError as error:
            return _problem(scan, error)
        return None

    def _report(self, problem: Problem) -> None:
        if self.strict:
            raise DataError(f"{problem.where}: {problem.text}; strict was asked for")
        if problem in self.skipped:  # in an earlier epoch
            return
        self.skipped.append(problem)
        if self._on_problem is not None:
            self._on_problem(problem)


def _problem(scan: Scan, error: DataError) -> Problem:
    return Problem(scan.name, "volume", str(error).removeprefix(f"{scan.path} "))
