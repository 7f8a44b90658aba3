"""What people should see before a long training: the labels and what is rare among them."""

from collections.abc import Sequence

import numpy as np

from rankgrad.data.regression.samples import LabelBins, RegressionData
from rankgrad.recipes.regression.metrics import REGIONS, Regions

__all__ = ["histogram_lines", "overview"]

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


def overview(data: RegressionData, regions: Regions, names: tuple[str, ...]) -> list[str]:
    """Return lines on the sizes, the label histogram of training and the regions.

    Args:
        data: the data.
        regions: the limits of the regions.
        names: the region of each label bin.
    """
    counts = data.train_counts.numpy()
    lines = [
        f"{len(data.train):,} training, {len(data.val):,} validation and {len(data.test):,} test "
        f"samples; labels in {data.bins.num} bins of {data.bins.width:g}",
        *histogram_lines(counts, data.bins),
    ]
    tested = np.array(names)[data.bins.index(data.test.targets).numpy()]
    trained = np.array(names)
    for region in REGIONS[1:]:
        inside = trained == region
        limit = {
            "many": f"more than {regions.many_above} training samples",
            "medium": f"{regions.few_below} to {regions.many_above}",
            "few": f"fewer than {regions.few_below}",
        }[region]
        lines.append(
            f"  {region:<7}{int(inside.sum()):>5} bins {int(counts[inside].sum()):>8,} training "
            f"{int((tested == region).sum()):>7,} test samples"
            + ("  (as published)" if data.regions is not None else f"  ({limit} a bin)")
        )
    return [*lines, *(f"  note: {note}" for note in data.notes)]


def histogram_lines(counts: Sequence[int] | np.ndarray, bins: LabelBins) -> list[str]:
    """Return the histogram as one line of bars over its two ends.

    >>> histogram_lines([1, 4, 2, 0], LabelBins(4))
    ['  ▂█▄ ', '  0  3']
    """
    counts = np.asarray(counts, dtype=np.float64)
    group = -(-len(counts) // _WIDTH)
    padded = np.pad(counts, (0, -len(counts) % group)).reshape(-1, group).mean(axis=1)
    top = padded.max() or 1.0
    bars = "".join(_BARS[int(np.ceil(8 * value / top))] for value in padded)
    last = bins.low + bins.width * (bins.num - (1 if bins.width == 1 else 0))
    left, right = f"{bins.low:g}", f"{last:g}"
    return [f"  {bars}", f"  {left}{right:>{max(len(bars) - len(left), len(right) + 1)}}"]
