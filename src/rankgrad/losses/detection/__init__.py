"""Losses that train detectors by ranking: Rank & Sort, AP and aLRP."""

from rankgrad.losses.detection.alrp import ALRP, ALRPLoss, alrp
from rankgrad.losses.detection.average_precision import APLoss, ap_loss
from rankgrad.losses.detection.balancing import EpochBalance, balance
from rankgrad.losses.detection.rank_sort import RankSortLoss, rank_sort

__all__ = [
    "ALRP",
    "ALRPLoss",
    "APLoss",
    "EpochBalance",
    "RankSortLoss",
    "alrp",
    "ap_loss",
    "balance",
    "rank_sort",
]
