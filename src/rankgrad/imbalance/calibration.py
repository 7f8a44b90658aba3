"""Features moved from one mean and variance to another."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["calibrate"]


def calibrate(
    features: Float[Tensor, "*n d"],
    mean: Float[Tensor, "*#n d"],
    var: Float[Tensor, "*#n d"],
    new_mean: Float[Tensor, "*#n d"],
    new_var: Float[Tensor, "*#n d"],
    clip: tuple[float, float] = (0.1, 10.0),
) -> Float[Tensor, "*n d"]:
    r"""Move features from one mean and variance to another, dimension by dimension.

    .. math:: (z - \mu) \sqrt{\operatorname{clip}(v' / v)} + \mu'

    A dimension without variance stays as it is, and so does a sample whose variances ``var`` sum
    to less than 1e-10: nothing is known about its label yet. The input is not changed.

    Args:
        features: ``[*n, d]``.
        mean: what the features have now; broadcasts to ``features``, like the next three.
        var: likewise.
        new_mean: what they get.
        new_var: likewise.
        clip: the lowest and the highest ratio of variances that is believed.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021. The
    idea of whitening and re-colouring is from Sun, Feng, Saenko: Return of frustratingly easy
    domain adaptation. AAAI 2016.

    >>> calibrate(torch.tensor([[3.0]]), *map(torch.tensor, ([2.0], [1.0], [5.0], [4.0])))
    tensor([[7.]])
    """
    low, high = check_clip(clip)
    known = var > 0
    ratio = (new_var / torch.where(known, var, 1.0)).clamp(low, high)
    moved = (features - mean) * ratio.sqrt() + new_mean
    known = known & (var.sum(-1, keepdim=True) >= 1e-10)
    return torch.where(known, moved, features)


def check_clip(clip: tuple[float, float]) -> tuple[float, float]:
    """Return ``clip``; raise ``ValueError`` unless it is an interval above zero."""
    low, high = clip
    if not 0 < low <= high:
        raise ValueError(f"clip must be (low, high) with 0 < low <= high, got {clip}")
    return clip
