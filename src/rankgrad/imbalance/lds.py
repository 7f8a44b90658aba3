"""Label-distribution smoothing: weights for samples whose labels are rare."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from rankgrad.checks import anywhere, check_choice, check_positive, check_real

__all__ = ["label_bins", "lds_bin_weights", "lds_weights", "smooth_counts"]

_REWEIGHTING = ("sqrt_inverse", "inverse")
# Label arithmetic such as 0.3 / 0.1 ends just below the edge that is meant.
_EDGE = 1e-6
_NOT_FINITE = "labels must be finite, got NaN or infinity"


def label_bins(
    labels: Shaped[Tensor, " n"], num_bins: int, *, low: float = 0.0, width: float = 1.0
) -> Int64[Tensor, " n"]:
    """Return the bin of each label: ``floor((label - low) / width)``, kept inside the range.

    Labels outside the range count to the first and the last bin. A label that is meant to lie on
    an edge does: float32 and shorter labels are compared with the edges in float32, where 0.3 is
    3 * 0.1; others count to the next bin from a millionth of a bin below its edge.

    Raises:
        TypeError: the labels are no real numbers.
        ValueError: a label is NaN or infinite. Looking at them would wait for a GPU: there
            infinite labels are outside the range, and NaN counts to the last bin.

    >>> import torch
    >>> label_bins(torch.tensor([0.1, 0.3, 0.35, 9.0]), 4, width=0.1)
    tensor([1, 3, 3, 3])
    """
    width = check_positive("width", width)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    check_real("labels", labels)
    if labels.is_floating_point() and anywhere(labels - labels != 0):  # NaN and infinity
        raise ValueError(_NOT_FINITE)
    last = num_bins - 1
    if labels.is_floating_point() and labels.dtype != torch.float64:
        edges = torch.arange(1, num_bins, dtype=torch.float64, device=labels.device)
        edges = (edges * width + low).float()
        return torch.searchsorted(edges, labels.float().contiguous(), right=True)
    position = torch.floor((labels.double() - low) / width + _EDGE).clamp(0, last)
    if labels.device.type != "cpu":
        position = position.nan_to_num(last)
    return position.long()


def smooth_counts(
    counts: Shaped[Tensor, " bins"], window: Float64[Tensor, " size"]
) -> Float64[Tensor, " bins"]:
    """Return the label histogram convolved with a window; nothing lies beyond its ends.

    Raises:
        ValueError: the window has no centre: its size is even.

    >>> import torch
    >>> smooth_counts(torch.tensor([4, 0, 2]), torch.tensor([0.5, 1.0, 0.5]).double())
    tensor([4., 3., 2.], dtype=torch.float64)
    """
    if window.numel() % 2 == 0:
        raise ValueError(f"window must have an odd size, got {window.numel()}")
    x = counts.double()
    kernel = window.flip(0).to(x)
    return F.conv1d(x[None, None], kernel[None, None], padding=window.numel() // 2)[0, 0]


def lds_bin_weights(
    counts: Shaped[Tensor, " bins"],
    *,
    reweighting: str = "sqrt_inverse",
    window: Float64[Tensor, " size"] | None = None,
    clip: tuple[float, float] = (5.0, 1000.0),
) -> Float64[Tensor, " bins"]:
    """Return the weight of a sample in each label bin.

    The effective count of a bin is its smoothed count,

    - ``"sqrt_inverse"``: ``smooth(sqrt(count))``,
    - ``"inverse"``: ``smooth(clip(count))``,

    and the weight is one over it, scaled so that the weights of all counted samples have mean 1.

    Args:
        counts: ``[bins]``, how many samples fall into each bin.
        reweighting: ``"sqrt_inverse"`` or ``"inverse"``.
        window: ``[size]`` from :func:`smoothing_window`; None leaves the histogram as it is.
        clip: The lowest and the highest count that ``"inverse"`` believes. Empty bins are raised
            to the lowest too, before the smoothing.

    Returns:
        ``[bins]``, float64. NaN where the effective count is zero: a bin far from every sample.

    Note:
        The published code convolves integer counts for ``"inverse"``, which cuts the smoothed
        counts down to integers. Here they keep their fractions, so those weights differ by
        up to some per cent; without smoothing, and for ``"sqrt_inverse"``, they agree.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021.

    >>> import torch
    >>> lds_bin_weights(torch.tensor([1, 4, 0]))
    tensor([1.6667, 0.8333,    nan], dtype=torch.float64)
    """
    check_choice("reweighting", reweighting, _REWEIGHTING)
    check_real("counts", counts)
    counts = counts.double()
    if reweighting == "sqrt_inverse":
        effective = counts.sqrt()
    else:
        low, high = clip
        if not 0 <= low <= high:
            raise ValueError(f"clip must be (low, high) with 0 <= low <= high, got {clip}")
        effective = counts.clamp(low, high)
    if window is not None:
        effective = smooth_counts(effective, window)
    weights = torch.where(effective > 0, 1 / effective, torch.nan)
    total = torch.where(counts > 0, counts * weights, 0.0).sum()
    return weights * (counts.sum() / total)


def lds_weights(
    labels: Shaped[Tensor, " n"],
    *,
    reweighting: str = "sqrt_inverse",
    window: Float64[Tensor, " size"] | None = None,
    num_bins: int | None = None,
    low: float = 0.0,
    width: float = 1.0,
    clip: tuple[float, float] = (5.0, 1000.0),
) -> Float[Tensor, " n"]:
    """Return a weight for each training sample: high where its label is rare, mean 1.

    The labels are counted in bins (:func:`label_bins`), and each sample takes the weight of its
    bin (:func:`lds_bin_weights`).

    Args:
        labels: ``[n]``, floating or integer.
        reweighting: ``"sqrt_inverse"`` or ``"inverse"``.
        window: ``[size]`` from :func:`smoothing_window`; None leaves the histogram as it is.
        num_bins: How many bins; by default enough for the largest label.
        low: Where the first bin starts.
        width: How wide a bin is.
        clip: For ``"inverse"``: the lowest and the highest count it believes.

    Returns:
        ``[n]`` on the device of ``labels``, float64 for float64 labels, else float32.

    Looks at the labels, which waits for a GPU: for all labels once, before the training.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021.

    >>> import torch
    >>> from rankgrad.imbalance import smoothing_window
    >>> labels = torch.tensor([3.0, 3.0, 3.0, 3.0, 7.0])
    >>> lds_weights(labels)
    tensor([0.8333, 0.8333, 0.8333, 0.8333, 1.6667])
    >>> lds_weights(labels, window=smoothing_window("gaussian", 9, 2.0))
    tensor([0.8922, 0.8922, 0.8922, 0.8922, 1.4312])
    """
    check_positive("width", width)
    check_real("labels", labels)
    if labels.is_floating_point() and not bool(labels.isfinite().all()):
        raise ValueError(_NOT_FINITE)
    dtype = torch.float64 if labels.dtype == torch.float64 else torch.float32
    if labels.numel() == 0:
        return labels.to(dtype)
    enough = num_bins or max(int((labels.double().max() - low) / width), 0) + 2
    bins = label_bins(labels, enough, low=low, width=width)
    if num_bins is None:
        num_bins = int(bins.max()) + 1
    weights = lds_bin_weights(
        torch.bincount(bins, minlength=num_bins), reweighting=reweighting, window=window, clip=clip
    )
    return weights[bins].to(dtype)
