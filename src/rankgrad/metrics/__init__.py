"""The evaluation side of the rank-based criteria: functions, and ``torchmetrics`` classes.

The functions need nothing but PyTorch. The classes (``Spearman``, ``NDCG``, ...) need torchmetrics,
which is imported when the first of them is used.
"""

from typing import TYPE_CHECKING, Any

from rankgrad.metrics.correlation import kendall, pairwise_accuracy, spearman
from rankgrad.metrics.detection import OLRP, match_boxes, olrp
from rankgrad.metrics.gains import ndcg
from rankgrad.metrics.retrieval import (
    average_precision,
    mean_average_precision,
    mrr,
    precision_at_k,
    recall_at_k,
)

if TYPE_CHECKING:
    from rankgrad.metrics.modules import (
        MRR,
        NDCG,
        AveragePrecision,
        Kendall,
        MeanAveragePrecision,
        PairwiseAccuracy,
        PrecisionAtK,
        RecallAtK,
        Spearman,
    )

__all__ = [
    "average_precision",
    "OLRP",
    "kendall",
    "match_boxes",
    "mean_average_precision",
    "mrr",
    "ndcg",
    "olrp",
    "pairwise_accuracy",
    "precision_at_k",
    "recall_at_k",
    "spearman",
    "AveragePrecision",
    "Kendall",
    "MRR",
    "MeanAveragePrecision",
    "NDCG",
    "PairwiseAccuracy",
    "PrecisionAtK",
    "RecallAtK",
    "Spearman",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rankgrad.metrics' has no attribute {name!r}")
    from rankgrad.metrics import modules

    return getattr(modules, name)
