"""The loss of a method: a regression loss, its weights and its terms, over scaled labels."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.checks import check_choice
from rankgrad.compat.ranksim import batchwise_ranking_regularizer
from rankgrad.data.regression.samples import Batch, RegressionData
from rankgrad.imbalance import (
    BalancedMSELoss,
    focal_l1,
    focal_mse,
    lds_weights,
    smoothing_window,
    weighted_huber,
    weighted_l1,
    weighted_mse,
)
from rankgrad.losses import (
    ConcordanceLoss,
    CorrelationLoss,
    KendallLoss,
    PairwiseDifferenceLoss,
    RankNContrastLoss,
    RankSimLoss,
    SpearmanLoss,
)
from rankgrad.recipes.regression.method import (
    ON_FEATURES,
    MethodError,
    Options,
    RegressionMethod,
    Term,
)
from rankgrad.recipes.regression.stages import Stage, main_stage

__all__ = ["Objective", "Output", "window_of"]

_REGRESS: dict[str, Callable[..., Tensor]] = {
    "l1": weighted_l1,
    "mse": weighted_mse,
    "huber": weighted_huber,
    "focal-l1": focal_l1,
    "focal-mse": focal_mse,
}


class Output(NamedTuple):
    """What a model makes of a batch."""

    predictions: Float[Tensor, " n"]
    features: Float[Tensor, "n d"]


def window_of(options: Options, normalize: str = "max") -> Tensor:
    """Return the smoothing window that the options of ``lds`` or ``fds`` name."""
    o: dict[str, Any] = dict(options)
    return smoothing_window(o["window"], o["size"], o["sigma"], normalize=normalize)


class Objective(nn.Module):
    """The loss of a method on one data set, in one stage of training.

    Labels are scaled to mean 0 and deviation 1 for the losses on predictions (``scale=False``
    leaves them), and as they are for the terms that look at features.

    Args:
        method: the method.
        data: the data; weights come from the labels of its training part.
        stage: the stage; by default that which fits the predictions.
        scale: whether labels are scaled.

    Raises:
        MethodError: an option has a value that its loss does not take.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor | None

    def __init__(
        self,
        method: RegressionMethod,
        data: RegressionData,
        stage: Stage | None = None,
        *,
        scale: bool = True,
    ) -> None:
        super().__init__()
        labels = data.train.targets
        self.register_buffer("mean", labels.mean() if scale else torch.zeros(()))
        self.register_buffer("std", labels.std() if scale else torch.ones(()))
        self.method = method
        self.stage = stage or main_stage(method)
        self.options: dict[str, Any] = dict(method.loss_options)
        weights = None
        if method.reweighting and self.stage.weighted:
            weights = lds_weights(
                labels,
                reweighting=method.reweighting,
                window=window_of(method.lds) if method.lds else None,
                num_bins=data.bins.num,
                low=data.bins.low,
                width=data.bins.width,
            )
        self.register_buffer("weights", weights, persistent=False)
        try:
            balanced = method.loss == "balanced-mse" and self.stage.regresses
            self.balanced = BalancedMSELoss(**self.options) if balanced else None
            self._terms = [_TermLoss(term) for term in self.stage.terms]
            self.terms = nn.ModuleList(self._terms)
            if self.stage.regresses:
                self.regress(torch.zeros(1), torch.zeros(1), None)
        except ValueError as error:
            raise MethodError(f"{method.name}: {error}") from None

    def regress(self, predictions: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the regression loss alone; targets scaled."""
        if self.balanced is not None:
            loss: Tensor = self.balanced(predictions, targets)
            return loss
        return _REGRESS[self.method.loss](predictions, targets, weights, **self.options)

    def forward(
        self,
        output: Output,
        batch: Batch,
        epoch: int,
        gather: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts by name.

        Args:
            output: of the model, for this batch.
            batch: the batch.
            epoch: the epoch of the stage, from 0; terms may set in later.
            gather: makes the batch of all workers from that of this one, for the terms.
        """
        losses: list[tuple[str, Tensor]] = []
        if self.stage.regresses:
            weights = None if self.weights is None else self.weights[batch.rows]
            loss = self.regress(output.predictions, self.scaled(batch.targets), weights)
            losses.append((self.method.loss, loss))
        active = [term for term in self._terms if epoch >= term.start]
        if active:
            predictions, features = gather(output.predictions), gather(output.features)
            targets = gather(batch.targets)
            for term in active:
                extra = term(predictions, features, targets, self.scaled(targets))
                losses.append((term.name, extra))
        total = reduce(add, (loss for _, loss in losses))
        return total, {name: loss.detach() for name, loss in losses}

    def scaled(self, targets: Tensor) -> Tensor:
        """Return labels as the model sees them."""
        return (targets - self.mean) / self.std

    def to_labels(self, predictions: Tensor) -> Tensor:
        """Undo the scaling."""
        return predictions * self.std + self.mean


class _TermLoss(nn.Module):
    """One term, weighted."""

    def __init__(self, term: Term) -> None:
        super().__init__()
        o: dict[str, Any] = dict(term.options)
        self.name = term.name
        self.weight: float = o.pop("weight")
        self.start: int = o.pop("start")
        self.coupling: str = o.pop("coupling", "separate")  # of RankSim's weight and its ranker
        check_choice("coupling", self.coupling, ("separate", "published"))
        self.options = o
        self.on_features = term.name in ON_FEATURES
        make: dict[str, Callable[..., nn.Module]] = {
            "ranksim": RankSimLoss,
            "rnc": RankNContrastLoss,
            "spearman": SpearmanLoss,
            "difference": PairwiseDifferenceLoss,
            "correlation": CorrelationLoss,
            "concordance": ConcordanceLoss,
            "kendall": KendallLoss,
        }
        self.loss = make[term.name](**o)

    def forward(
        self, predictions: Tensor, features: Tensor, targets: Tensor, scaled: Tensor
    ) -> Tensor:
        """Return the weighted term."""
        loss: Tensor
        if self.coupling == "published":
            loss = batchwise_ranking_regularizer(features, targets, self.options["strength"])
        elif self.on_features:
            loss = self.loss(features, targets)
        else:
            loss = self.loss(predictions, scaled)
        return self.weight * loss
