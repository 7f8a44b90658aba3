"""Which data a run reads, as settings that can be stored and compared."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rankgrad.data.regression import (
    DataError,
    LabelBins,
    RegressionData,
    digits_data,
    embedded_pairs,
    feature_table,
    image_table,
    sentence_pairs,
)
from rankgrad.data.regression.digits import REGION_LIMITS
from rankgrad.recipes.regression.metrics import Regions

__all__ = ["DataSettings", "load_data", "regions_of"]

_DIGITS = {"digits": 2, "digits3": 3}
# Settings of tables alone
_OF_TABLES = ("target", "split", "limit", "image_root", "bin_low", "bin_width", "num_bins")
# Those of folders of sentence pairs
_OF_FOLDERS = ("vectors", "embeddings")


@dataclass(frozen=True)
class DataSettings:
    """Where the data is and how to read it; what is None is found out.

    ``source`` is ``digits``, ``digits3``, a CSV or TSV file, or a folder with STS-B-DIR's files.
    With ``image_root`` a table is one of image paths. A folder takes ``vectors`` of words (a file,
    or ``glove-50d``), which a model reads in order, or ``embeddings`` of whole sentences
    (``minilm``, a file ``.npz``, or ``package.module:function``).
    """

    source: str = "digits"
    target: str | None = None
    features: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None
    image_root: str | None = None
    path_column: str = "path"
    image_size: int = 224
    augment: bool = True
    skip_unreadable: bool = False
    vectors: str | None = None
    embeddings: str | None = None
    # Label bins: first edge, width and number; the width alone is enough.
    bin_low: float | None = None
    bin_width: float | None = None
    num_bins: int | None = None
    # Regions by the training samples of a label bin
    many_above: int | None = None
    few_below: int | None = None


# What was read last: the runs of a seed share it.
_read: dict[tuple[DataSettings, int], RegressionData] = {}


def load_data(
    settings: DataSettings, seed: int, progress: Callable[[int, int], None] | None = None
) -> RegressionData:
    """Return the data of one seed; that of the last two is remembered.

    Args:
        settings: where it is.
        seed: of what is drawn at random.
        progress: is told how many sentences are encoded, of how many, where some have to be.

    Raises:
        DataError: it cannot be read, lacks a setting, or has one that does not apply.
    """
    if (settings, seed) not in _read:
        data = _loaded(settings, seed, progress)
        for old in list(_read)[:-1]:
            del _read[old]
        _read[settings, seed] = data
    return _read[settings, seed]


def _loaded(
    settings: DataSettings, seed: int, progress: Callable[[int, int], None] | None
) -> RegressionData:
    if settings.source in _DIGITS:
        _refuse(settings, settings.source, *_OF_TABLES, *_OF_FOLDERS)
        return digits_data(seed, _DIGITS[settings.source])
    path = Path(settings.source)
    if path.is_dir():
        _refuse(settings, "a folder of sentence pairs", *_OF_TABLES)
        if settings.vectors is not None and settings.embeddings is None:
            return sentence_pairs(path, settings.vectors)
        if settings.embeddings is not None and settings.vectors is None:
            return embedded_pairs(path, settings.embeddings, progress)
        raise DataError(
            "sentence pairs need either vectors of words (a file, or glove-50d) or embeddings of "
            "sentences (minilm, a file .npz, or package.module:function)"
        )
    _refuse(settings, "a table", *_OF_FOLDERS)
    if settings.target is None:
        raise DataError(f"{path} needs the name of its target column")
    if settings.image_root is not None:
        data = image_table(
            path,
            settings.target,
            settings.image_root,
            column=settings.path_column,
            split=settings.split,
            seed=seed,
            limit=settings.limit,
            size=settings.image_size,
            augment=settings.augment,
            skip_unreadable=settings.skip_unreadable,
        )
    else:
        data = feature_table(
            path,
            settings.target,
            features=settings.features,
            split=settings.split,
            seed=seed,
            limit=settings.limit,
        )
    return _with_bins(data, settings)


def _refuse(settings: DataSettings, what: str, *names: str) -> None:
    """Raise for settings that would have no effect."""
    given = [name for name in names if getattr(settings, name) is not None]
    if given:
        raise DataError(f"{what} cannot be read with {' and '.join(given)}")


def _with_bins(data: RegressionData, settings: DataSettings) -> RegressionData:
    if settings.bin_width is None:
        if settings.bin_low is not None or settings.num_bins is not None:
            raise DataError("bin_low and num_bins need bin_width")
        return data
    if not (0 < settings.bin_width < math.inf):
        raise DataError(f"bin_width must be above zero, got {settings.bin_width:g}")
    everything = torch.cat([part.targets for part in (data.train, data.val, data.test)])
    width = settings.bin_width
    lowest, highest = float(everything.min()), float(everything.max())
    low = settings.bin_low if settings.bin_low is not None else lowest // width * width
    num = settings.num_bins or max(int((highest - low) / width) + 1, 1)
    return replace(data, bins=LabelBins(num, low, width))


def regions_of(data: RegressionData, settings: DataSettings) -> tuple[Regions, tuple[str, ...]]:
    """Return the limits of the regions, and the region of each label bin."""
    many, few = REGION_LIMITS.get(_DIGITS.get(settings.source, 0), (100, 20))
    regions = Regions(
        settings.many_above if settings.many_above is not None else many,
        settings.few_below if settings.few_below is not None else few,
    )
    if data.regions is not None:
        return regions, data.regions
    return regions, regions.names(data.train_counts.numpy())
