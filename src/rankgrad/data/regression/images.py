"""Image files with a target: a table of paths, loaded when they are needed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rankgrad.data.regression.samples import (
    DataError,
    LabelBins,
    RegressionData,
    Samples,
    bins_for,
)
from rankgrad.data.regression.table import PARTS, drawn, part_indices, read_table

__all__ = ["ImageSamples", "image_table"]


class ImageSamples(Samples):
    """Images of one size, values scaled to -1..1; ``augment`` crops and mirrors them at random.

    Args:
        paths: the files.
        targets: ``[n]``.
        size: height and width they are resized to.
        augment: pad by a fourteenth of the size (16 of 224, as published), cut out a random square
            of the size, and mirror half of the images.
    """

    def __init__(
        self, paths: Sequence[Path], targets: Float[Tensor, " n"], size: int, augment: bool
    ) -> None:
        self.paths = list(paths)
        self.targets = targets
        self.size = size
        self.augment = augment

    def inputs(self, index: Int64[Tensor, " n"]) -> Float[Tensor, "n 3 size size"]:
        """Load these images."""
        return torch.stack([self._load(self.paths[i]) for i in index.tolist()])

    def _load(self, path: Path) -> Tensor:
        from PIL import Image

        try:
            with Image.open(path) as image:
                resized = image.convert("RGB").resize(
                    (self.size, self.size), Image.Resampling.BILINEAR
                )
        except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for broken files
            raise DataError(f"cannot read the image {path}: {error}") from None
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 127.5 - 1
        return self._moved(pixels) if self.augment else pixels

    def _moved(self, pixels: Tensor) -> Tensor:
        pad = max(1, round(self.size / 14))
        # Black, as in the published code.
        padded = torch.nn.functional.pad(pixels, (pad, pad, pad, pad), value=-1.0)
        top, left = torch.randint(2 * pad + 1, (2,)).tolist()
        cut = padded[:, top : top + self.size, left : left + self.size]
        return cut.flip(-1) if bool(torch.rand(()) < 0.5) else cut


def image_table(
    path: str | Path,
    target: str,
    root: str | Path,
    *,
    column: str = "path",
    split: str | None = None,
    seed: int = 0,
    size: int = 224,
    bins: LabelBins | None = None,
    limit: int | None = None,
    augment: bool = True,
    skip_unreadable: bool = False,
) -> RegressionData:
    """Read a table of image files.

    AgeDB-DIR and IMDB-WIKI-DIR are such tables: ``agedb.csv`` and ``imdb_wiki.csv`` with the
    columns ``age``, ``path`` and ``split``, the paths relative to the folder they lie in.

    Args:
        path: the CSV or TSV file.
        target: the column to predict.
        root: the folder that paths are relative to.
        column: the column of paths.
        split: see :func:`rankgrad.data.regression.table.part_indices`.
        seed: of the split, where it is drawn.
        size: height and width that images are resized to.
        bins: how labels are counted; by default :func:`bins_for` all of them.
        limit: use so many rows, drawn at random with ``seed``.
        augment: whether training images are cropped and mirrored at random.
        skip_unreadable: leave out images that cannot be opened, and note it, in place of refusing.

    Raises:
        DataError: see :func:`rankgrad.data.regression.table.read_table`; images that are missing
            or no images, row by row; a target that is no finite number; an empty part.
    """
    table = read_table(path)
    bins = bins or bins_for(table.numbers(target))  # of all rows: the same for every draw
    table = drawn(table, limit, seed)
    targets = table.numbers(target)
    files = [Path(root, text) for text in table.column(column)]
    bad = [(i, why) for i, file in enumerate(files) if (why := _trouble(file))]
    notes = []
    if skip_unreadable and bad:
        first = "; ".join(f"line {table.lines[i]}: {why}" for i, why in bad[:5])
        notes.append(f"{len(bad)} images left out, they cannot be opened: {first}")
    else:
        table.refuse(bad)
    left_out = {i for i, _ in bad}
    parts = {
        name: np.array([i for i in rows if i not in left_out], dtype=np.int64)
        for name, rows in part_indices(table, split, seed).items()
    }
    if not split:
        notes.append(f"parts drawn at random with seed {seed}: 70, 10 and 20 per cent")
    train, val, test = (
        ImageSamples(
            [files[i] for i in parts[name]],
            targets[torch.from_numpy(parts[name])],
            size,
            augment and name == "train",
        )
        for name in PARTS
    )
    return RegressionData("image", train, val, test, bins, notes=tuple(notes))


def _trouble(file: Path) -> str:
    """Say why a file is no image that can be opened; its header is read, not its pixels."""
    from PIL import Image

    if not file.is_file():
        return f"there is no file {file}"
    try:
        with Image.open(file):
            return ""
    except (OSError, SyntaxError, ValueError):
        return f"{file} is no image"
