"""A folder of NIfTI files joined with a table of ages."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from rankgrad.data.nifti.folder import list_images
from rankgrad.data.nifti.join import join
from rankgrad.data.nifti.problems import DataError, Problem, listed
from rankgrad.data.nifti.scan import Scans
from rankgrad.data.nifti.splits import draw_splits, refuse_leaks
from rankgrad.data.nifti.table import SPLITS, read_rows, split_named

__all__ = ["read_scans"]


def read_scans(
    images: str | Path,
    table: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    pattern: str = "*",
    need_sex: bool = False,
    age_range: tuple[float, float] = (0.0, 120.0),
    strict: bool = False,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    need: Collection[str] = ("train", "validation"),
) -> Scans:
    """Join a folder of NIfTI files with a table of ages.

    A row names its image by the file name, with or without ``.nii.gz`` and the folders above it,
    or by a path, absolute or relative to the table. If no image is called so, the row stands for
    all images whose name begins with it up to ``_``, ``-`` or ``.``, or which are of that subject:
    ``sub-01`` for ``sub-01/anat/sub-01_T1w.nii.gz``.

    The splits are folders ``train``, ``validation`` (or ``val``) and ``test`` in ``images``, else
    a column of the table, else they are drawn: subjects as a whole, evenly over the ages. The
    subject of a scan is what its column says, else ``sub-...`` in its name, else the name itself.

    Args:
        images: the folder, searched with all folders in it.
        table: a CSV, TSV or Excel file; see :func:`rankgrad.data.nifti.table.read_rows`.
        columns: what the columns are called, by file, age, sex, subject and split.
        pattern: what names of images, relative to the folder, have to match: ``"*T1w*"``.
        need_sex: leave out scans of unknown sex.
        age_range: ages outside, in years, are left out.
        strict: refuse in place of leaving out.
        seed: of the splits, where they are drawn.
        fractions: the shares of the splits, where they are drawn.
        need: the splits that must not be empty.

    Raises:
        DataError: the folder or the table cannot be read; a subject is in two splits; nothing
            usable remains, or nothing of a split in ``need``; ``strict``, and there is a problem.
    """
    files = list_images(images, pattern=pattern)
    rows, problems = read_rows(table, columns, need_sex=need_sex, age_range=age_range)
    pairs, unmatched = join(files, rows, Path(table).parent)
    problems += unmatched
    scans = [
        replace(file, subject=row.subject or file.subject, age=row.age, sex=row.sex)
        for file, row in pairs
    ]
    notes = []
    folders = [split_named(scan.name.split("/")[0]) if "/" in scan.name else "" for scan in scans]
    if any(folders):
        splits = folders
        outside = "lies in none of the folders train, validation, test"
        problems += [
            Problem(s.name, "split", outside) for s, f in zip(scans, folders, strict=True) if not f
        ]
    elif any(row.split for _, row in pairs):
        splits = [row.split for _, row in pairs]
    else:
        splits = draw_splits(scans, seed, fractions)
        shares = ", ".join(f"{100 * share:g}" for share in fractions)
        notes.append(f"splits drawn by subject with seed {seed}: {shares} per cent")
    if strict and problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(f"{count}, and strict was asked for: {listed(problems)}")
    placed = [replace(s, split=split) for s, split in zip(scans, splits, strict=True) if split]
    if not placed:
        raise DataError(f"no scan can be used: {listed(problems)}")
    refuse_leaks(placed)
    parts = {split: tuple(s for s in placed if s.split == split) for split in SPLITS}
    for split in need:
        if not parts[split]:
            more = f": {listed(problems)}" if problems else ""
            raise DataError(f"no scan is left for {split}{more}")
    unknown = sum(scan.sex is None for scan in placed)
    if 0 < unknown < len(placed):
        notes.append(f"the sex of {unknown} scans is unknown")
    return Scans(**parts, problems=tuple(problems), notes=tuple(notes))
