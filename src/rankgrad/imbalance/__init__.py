"""Rare labels: smoothed label histograms and features, sample weights and losses."""

from rankgrad.imbalance.balanced_mse import BalancedMSELoss, balanced_mse_loss
from rankgrad.imbalance.calibration import calibrate
from rankgrad.imbalance.fds import FDS
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
    "FDS",
    "BalancedMSELoss",
    "balanced_mse_loss",
    "calibrate",
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
