"""Smoothing windows over the label axis."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from rankgrad.checks import check_choice, check_positive

__all__ = ["WINDOWS", "smoothing_window"]

WINDOWS = ("gaussian", "triangular", "laplace")


def smoothing_window(
    shape: str = "gaussian", size: int = 5, sigma: float = 2.0, *, normalize: str = "max"
) -> Float64[Tensor, " size"]:
    """Return a symmetric window over ``size`` neighbouring label bins.

    With ``x = -h .. h`` and ``h = (size - 1) / 2``:

    - ``"gaussian"``: a unit impulse smoothed by a Gaussian of width ``sigma``, where the borders
      of the window reflect. A window much narrower than ``sigma`` is therefore flatter than
      ``exp(-x^2 / (2 sigma^2))``; a wide one equals it.
    - ``"triangular"``: ``1 - |x| / (h + 1)``; ``sigma`` has no effect.
    - ``"laplace"``: ``exp(-|x| / sigma)``.

    Args:
        shape: One of the three names.
        size: The number of bins; odd, so that the window has a centre.
        sigma: The width in bins; above zero.
        normalize: ``"max"`` scales the centre to 1, ``"sum"`` the sum.

    Returns:
        ``[size]``, float64.

    Raises:
        ValueError: the name is unknown, ``size`` is even or below 1, or ``sigma`` is not above 0.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021.

    >>> smoothing_window("triangular", 3)
    tensor([0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """
    check_choice("shape", shape, WINDOWS)
    check_choice("normalize", normalize, ("max", "sum"))
    sigma = check_positive("sigma", sigma)
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be odd and at least 1, got {size}")
    half = size // 2
    x = torch.arange(-half, half + 1, dtype=torch.float64)
    if shape == "gaussian":
        window = _reflected_gaussian(half, sigma)
    elif shape == "triangular":
        window = 1 - x.abs() / (half + 1)
    else:
        window = torch.exp(-x.abs() / sigma)
    return window / (window.max() if normalize == "max" else window.sum())


def _reflected_gaussian(half: int, sigma: float) -> Tensor:
    """A Gaussian around the centre whose tails fold back in at the borders."""
    # Cut off at four sigma, as image filters do.
    radius = math.floor(4 * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    density = torch.exp(-(offset.double() ** 2) / (2 * sigma**2))
    size = 2 * half + 1
    # The axis mirrors at every border and so repeats after two window lengths.
    position = (offset + half) % (2 * size)
    position = torch.where(position < size, position, 2 * size - 1 - position)
    return torch.zeros(size, dtype=torch.float64).index_add(0, position, density)
