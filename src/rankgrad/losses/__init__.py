"""Losses: a function and an ``nn.Module`` each, one family a file."""

from rankgrad.losses.approx_ndcg import (
    ApproxMRRLoss,
    ApproxNDCGLoss,
    approx_mrr_loss,
    approx_ndcg_loss,
)
from rankgrad.losses.correlation import (
    ConcordanceLoss,
    CorrelationLoss,
    concordance_loss,
    correlation_loss,
)
from rankgrad.losses.crossmodal import RankHardLoss, RankLoss, rank_hard_loss, rank_loss
from rankgrad.losses.detection import (
    ALRP,
    ALRPLoss,
    APLoss,
    EpochBalance,
    RankSortLoss,
    alrp,
    ap_loss,
    balance,
    rank_sort,
)
from rankgrad.losses.kendall import KendallLoss, kendall_loss
from rankgrad.losses.lambda_loss import LambdaLoss, lambda_loss
from rankgrad.losses.listwise import ListMLELoss, ListNetLoss, list_mle_loss, list_net_loss
from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.losses.multilabel import MapRankingLoss, map_ranking_loss
from rankgrad.losses.neural_ndcg import NeuralNDCGLoss, neural_ndcg_loss
from rankgrad.losses.rank_metric import RankMetricLoss
from rankgrad.losses.rank_n_contrast import RankNContrastLoss, rank_n_contrast_loss
from rankgrad.losses.ranksim import RankSimLoss, rank_sim_loss
from rankgrad.losses.recall_at_k import RecallAtKLoss, recall_at_k_loss
from rankgrad.losses.regression import (
    PairwiseDifferenceLoss,
    RankDifferenceLoss,
    pairwise_difference_loss,
    rank_difference_loss,
)
from rankgrad.losses.smooth_ap import SmoothAPLoss, smooth_ap_loss
from rankgrad.losses.spearman import SpearmanLoss, spearman_loss

__all__ = [
    "ALRP",
    "ALRPLoss",
    "APLoss",
    "ApproxMRRLoss",
    "ApproxNDCGLoss",
    "ConcordanceLoss",
    "CorrelationLoss",
    "CrossBatchMemory",
    "EpochBalance",
    "KendallLoss",
    "LambdaLoss",
    "ListMLELoss",
    "ListNetLoss",
    "MapRankingLoss",
    "NeuralNDCGLoss",
    "PairwiseDifferenceLoss",
    "RankDifferenceLoss",
    "RankHardLoss",
    "RankLoss",
    "RankMetricLoss",
    "RankNContrastLoss",
    "RankSimLoss",
    "RankSortLoss",
    "RecallAtKLoss",
    "SmoothAPLoss",
    "SpearmanLoss",
    "alrp",
    "ap_loss",
    "approx_mrr_loss",
    "approx_ndcg_loss",
    "balance",
    "concordance_loss",
    "correlation_loss",
    "kendall_loss",
    "lambda_loss",
    "list_mle_loss",
    "list_net_loss",
    "map_ranking_loss",
    "neural_ndcg_loss",
    "pairwise_difference_loss",
    "rank_difference_loss",
    "rank_hard_loss",
    "rank_loss",
    "rank_n_contrast_loss",
    "rank_sim_loss",
    "rank_sort",
    "recall_at_k_loss",
    "smooth_ap_loss",
    "spearman_loss",
]
