"""Rare labels: smoothed label histograms, sample weights and losses that take them."""

from rankgrad.imbalance.lds import label_bins, lds_bin_weights, lds_weights, smooth_counts
from rankgrad.imbalance.weighted import (
    focal_l1,
    focal_mse,
    weighted_huber,
    weighted_l1,
    weighted_mse,
)
from rankgrad.imbalance.windows import smoothing_window

__all__ = [
    "focal_l1",
    "focal_mse",
    "label_bins",
    "lds_bin_weights",
    "lds_weights",
    "smooth_counts",
    "smoothing_window",
    "weighted_huber",
    "weighted_l1",
    "weighted_mse",
]
