"""The metrics as ``torchmetrics`` classes: they accumulate over batches and over workers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ImportError as error:
    raise ImportError(
        "the metric classes need torchmetrics: pip install 'rankgrad[metrics]' "
        "(the functions of rankgrad.metrics work without it)"
    ) from error

from rankgrad.checks import check_choice
from rankgrad.metrics.correlation import kendall, pairwise_accuracy, spearman
from rankgrad.metrics.gains import ndcg
from rankgrad.metrics.of_ranks import RECALLS, check_cut_off, check_gain, is_relevant
from rankgrad.metrics.retrieval import (
    average_precision,
    mrr,
    precision_at_k,
    recall_at_k,
)

__all__ = [
    "MRR",
    "NDCG",
    "AveragePrecision",
    "Kendall",
    "MeanAveragePrecision",
    "PairwiseAccuracy",
    "PrecisionAtK",
    "RecallAtK",
    "Spearman",
]


class _OverSamples(Metric):
    """One ranking of all samples of all batches: keeps them, compares at the end.

    ``update(scores, targets)`` takes ``[batch]``, or ``[batch, outputs]``: then each output is a
    ranking of its own and the result the mean over those that have a value.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    _function: Callable[..., Tensor]

    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add a batch of samples."""
        if scores.shape != targets.shape or scores.dim() not in (1, 2):
            raise ValueError(
                "scores and targets must have one shape, [batch] or [batch, outputs], got "
                f"{tuple(scores.shape)} and {tuple(targets.shape)}"
            )
        self.scores.append(scores.detach())
        self.targets.append(targets.detach())

    def compute(self) -> Tensor:
        """Return the value over all samples so far."""
        scores, targets = dim_zero_cat(self.scores), dim_zero_cat(self.targets)
        return type(self)._function(scores.movedim(0, -1), targets.movedim(0, -1))


class _OverLists(Metric):
    """One ranking a row: the mean over the rows of all batches. Keeps two numbers.

    ``update(scores, relevance, mask=None)`` takes ``[..., items]``.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    total: Tensor
    rows: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, relevance: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of lists; those without a relevant item do not count."""
        values = self._values(scores, relevance, mask)
        relevant = is_relevant(relevance)
        if mask is not None:
            relevant = relevant & mask
        self.total = self.total + values.sum().to(self.total.dtype)
        self.rows = self.rows + relevant.any(dim=-1).sum()

    def compute(self) -> Tensor:
        """Return the mean over all lists so far; 0 if there was none with a relevant item."""
        return (self.total / self.rows.clamp(min=1)).float()

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        """Return one value a row, zero for lists without a relevant item."""
        raise NotImplementedError


class Spearman(_OverSamples):
    """Spearman's correlation over all samples; see :func:`rankgrad.metrics.spearman`.

    >>> import torch
    >>> metric = Spearman()
    >>> metric.update(torch.tensor([0.1, 0.4]), torch.tensor([1.0, 2.0]))
    >>> metric.update(torch.tensor([0.3]), torch.tensor([3.0]))
    >>> metric.compute()
    tensor(0.5000)
    """

    _function = staticmethod(spearman)


class Kendall(_OverSamples):
    """Kendall's tau-b over all samples; see :func:`rankgrad.metrics.kendall`."""

    _function = staticmethod(kendall)


class PairwiseAccuracy(_OverSamples):
    """Share of pairs in order over all samples; see :func:`rankgrad.metrics.pairwise_accuracy`."""

    _function = staticmethod(pairwise_accuracy)


class AveragePrecision(_OverSamples):
    """Average precision over all samples; see :func:`rankgrad.metrics.average_precision`.

    With ``[batch, classes]`` the mean over the classes that occur (mAP of multi-label
    classification).
    """

    _function = staticmethod(average_precision)


class MeanAveragePrecision(_OverLists):
    """Mean over ranked lists of the average precision: mAP of retrieval.

    >>> import torch
    >>> metric = MeanAveragePrecision()
    >>> metric.update(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[1, 0, 1]]))
    >>> metric.compute()
    tensor(0.8333)
    """

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        return average_precision(scores, relevance, mask=mask, reduction="none")


class MRR(_OverLists):
    """Mean reciprocal rank; see :func:`rankgrad.metrics.mrr`."""

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        return mrr(scores, relevance, mask=mask, reduction="none")


class RecallAtK(_OverLists):
    """Recall at k over ranked lists; see :func:`rankgrad.metrics.recall_at_k`.

    Args:
        k: the cut-off.
        kind: "all", "capped" or "any".
        kwargs: those of ``torchmetrics.Metric``.
    """

    def __init__(self, k: int, kind: str = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_cut_off(k, none_allowed=False)
        check_choice("kind", kind, RECALLS)
        self.k, self.kind = k, kind

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        return recall_at_k(scores, relevance, self.k, kind=self.kind, mask=mask, reduction="none")


class PrecisionAtK(_OverLists):
    """Precision at k over ranked lists; see :func:`rankgrad.metrics.precision_at_k`.

    Args:
        k: the cut-off.
        kwargs: those of ``torchmetrics.Metric``.
    """

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_cut_off(k, none_allowed=False)
        self.k = k

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        return precision_at_k(scores, relevance, self.k, mask=mask, reduction="none")


class NDCG(_OverLists):
    """Normalised discounted cumulative gain over ranked lists; see :func:`rankgrad.metrics.ndcg`.

    Args:
        k: the cut-off; None for all places.
        gain: "linear" or "exponential".
        kwargs: those of ``torchmetrics.Metric``.
    """

    def __init__(self, k: int | None = None, gain: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_cut_off(k)
        check_gain(gain)
        self.k, self.gain = k, gain

    def _values(self, scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
        return ndcg(scores, relevance, self.k, gain=self.gain, mask=mask, reduction="none")
