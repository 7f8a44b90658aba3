"""Trainable ranking: Spearman, average precision, recall at k and their kin, exact and fast.

Names are imported when they are first used, so that ``import rankgrad`` costs next to nothing.

>>> import torch, rankgrad as rg
>>> rg.rank(torch.tensor([0.1, 0.7, 0.4]))
tensor([3., 1., 2.])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that defines it
_HOMES: dict[str, str] = {
    # comparisons and the engine
    "Comparison": "comparisons",
    "Step": "comparisons",
    "Ramp": "comparisons",
    "Logistic": "comparisons",
    "Laplace": "comparisons",
    "Normal": "comparisons",
    "Cauchy": "comparisons",
    "pairwise_sum": "pairwise",
    # hard ranks
    "rank": "ranks",
    "argsort": "sorting",
    "sort": "sorting",
    # soft ranks
    "soft_quantile": "rankers",
    "soft_rank": "rankers",
    "soft_sort": "rankers",
    "soft_topk": "rankers",
    # losses
    "ALRPLoss": "losses",
    "APLoss": "losses",
    "ApproxMRRLoss": "losses",
    "ApproxNDCGLoss": "losses",
    "ConcordanceLoss": "losses",
    "CorrelationLoss": "losses",
    "CrossBatchMemory": "losses",
    "EpochBalance": "losses",
    "KendallLoss": "losses",
    "LambdaLoss": "losses",
    "ListMLELoss": "losses",
    "ListNetLoss": "losses",
    "MapRankingLoss": "losses",
    "NeuralNDCGLoss": "losses",
    "PairwiseDifferenceLoss": "losses",
    "RankDifferenceLoss": "losses",
    "RankHardLoss": "losses",
    "RankLoss": "losses",
    "RankMetricLoss": "losses",
    "RankNContrastLoss": "losses",
    "RankSimLoss": "losses",
    "RankSortLoss": "losses",
    "RecallAtKLoss": "losses",
    "SmoothAPLoss": "losses",
    "SpearmanLoss": "losses",
    "balance": "losses",
    # rare labels
    "FDS": "imbalance",
    "BalancedMSELoss": "imbalance",
    "lds_weights": "imbalance",
    # kernels
    "backends": "kernels",
    "use_backend": "kernels",
    "warmup": "precompile",
}
_MODULES = (
    "comparisons",
    "compat",
    "distributed",
    "functional",
    "imbalance",
    "kernels",
    "losses",
    "metrics",
    "pairwise",
    "rankers",
    "ranks",
    "sorters",
    "sorting",
)

__all__ = ["__version__", *_HOMES, *_MODULES]

if TYPE_CHECKING:
    from rankgrad.comparisons import Cauchy, Comparison, Laplace, Logistic, Normal, Ramp, Step
    from rankgrad.imbalance import FDS, BalancedMSELoss, lds_weights
    from rankgrad.kernels import backends, use_backend
    from rankgrad.losses import (
        ALRPLoss,
        APLoss,
        ApproxMRRLoss,
        ApproxNDCGLoss,
        ConcordanceLoss,
        CorrelationLoss,
        CrossBatchMemory,
        EpochBalance,
        KendallLoss,
        LambdaLoss,
        ListMLELoss,
        ListNetLoss,
        MapRankingLoss,
        NeuralNDCGLoss,
        PairwiseDifferenceLoss,
        RankDifferenceLoss,
        RankHardLoss,
        RankLoss,
        RankMetricLoss,
        RankNContrastLoss,
        RankSimLoss,
        RankSortLoss,
        RecallAtKLoss,
        SmoothAPLoss,
        SpearmanLoss,
        balance,
    )
    from rankgrad.pairwise import pairwise_sum
    from rankgrad.precompile import warmup
    from rankgrad.rankers import soft_quantile, soft_rank, soft_sort, soft_topk
    from rankgrad.ranks import rank
    from rankgrad.sorting import argsort, sort


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"rankgrad.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"rankgrad.{name}")
    else:
        raise AttributeError(f"module 'rankgrad' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
