"""The embedded digits as data for regression."""

import torch

from rankgrad.data.digits import digit_numbers, skewed_bell
from rankgrad.data.regression.samples import LabelBins, RegressionData, TensorSamples

__all__ = ["REGION_LIMITS", "digits_data"]

# digits -> how many training samples a label of the region "many" has more than, and one of the
# region "few" has less than
REGION_LIMITS = {2: (30, 8), 3: (6, 2)}
# digits -> peak, mode and widths of the bell, validation and test samples a label
_SIZES = {2: (67, 34.0, 10.5, 20.5, 4, 10), 3: (12, 340.0, 105.0, 205.0, 1, 2)}


def digits_data(seed: int = 0, digits: int = 2) -> RegressionData:
    """Return images of two or three digits; see :func:`rankgrad.data.digits.digit_numbers`.

    Two digits: some 2,600 training images for 100 labels. Three: some 4,600 for 1,000.

    >>> data = digits_data(0, digits=2)
    >>> len(data.train), len(data.val), len(data.test), data.bins.num
    (2599, 400, 1000, 100)
    """
    if digits not in _SIZES:
        raise ValueError(f"digits must be 2 or 3, got {digits}")
    peak, mode, left, right, *per_label = _SIZES[digits]
    counts = skewed_bell(peak, mode, left, right, labels=10**digits)
    numbers = digit_numbers(counts, seed, val_per_label=per_label[0], test_per_label=per_label[1])
    train, held_out, test = (
        # Convolutions of this size are twice as fast on a CPU in this layout.
        TensorSamples(part.images.contiguous(memory_format=torch.channels_last), part.labels)
        for part in (numbers.train, numbers.val, numbers.test)
    )
    return RegressionData("image", train, held_out, test, LabelBins(10**digits))
