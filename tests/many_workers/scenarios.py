"""Batches cut into uneven shards, and the losses of them: what the workers and the tests share."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

import rankgrad as rg

Batch = dict[str, Tensor]
Loss = Callable[[Batch, object], Tensor]


@dataclass(frozen=True)
class Scenario:
    """A loss of a batch, and where the batch is cut.

    Attributes:
        make: makes the batch of the whole world; tensors are cut along their first dimension.
        loss: takes a shard and the group.
        trained: the tensors of the batch that want a gradient.
        local: the loss is not one number but one per sample of the shard.
    """

    make: Callable[[torch.Generator], Batch]
    loss: Loss
    trained: tuple[str, ...] = ("scores",)
    local: bool = False


def _detections(positives: int, n: int = 240) -> Callable[[torch.Generator], Batch]:
    def make(generator: torch.Generator) -> Batch:
        scores = torch.randn(n, generator=generator, dtype=torch.float64)
        scores[::7] = scores[::7].round(decimals=1)  # some ties
        targets = torch.zeros(n, dtype=torch.float64)
        # The positives stand in the first half, so that later shards hold none.
        place = torch.randperm(n // 2, generator=generator)[:positives]
        targets[place] = torch.rand(positives, generator=generator, dtype=torch.float64) * 0.9 + 0.1
        targets[n - 10 :: 3] = -1.0
        segments = torch.randint(0, 5, (n,), generator=generator) * 1_000_003
        errors = torch.zeros(n, dtype=torch.float64)
        errors[place] = torch.rand(positives, generator=generator, dtype=torch.float64)
        return {"scores": scores, "targets": targets, "segments": segments, "errors": errors}

    return make


def _rank_sort(
    reduction: str, segments: bool = False, delta: float = 0.5, most: int | None = None
) -> Loss:
    def loss(batch: Batch, group: object) -> Tensor:
        if reduction == "mean" and not segments:
            return rg.RankSortLoss(delta=delta, group=group)(batch["scores"], batch["targets"])
        ranking, sorting = rg.functional.rank_sort(
            batch["scores"],
            batch["targets"],
            delta=delta,
            segments=batch["segments"] if segments else None,
            reduction=reduction,
            group=group,
            max_positives=most,
        )
        return ranking + 0.7 * sorting

    return loss


def _ap(batch: Batch, group: object) -> Tensor:
    positive = (batch["targets"] > 0).long() - (batch["targets"] < 0).long()
    return rg.APLoss(group=group)(batch["scores"], positive, batch["segments"])


def _alrp(batch: Batch, group: object) -> Tensor:
    positive = (batch["targets"] > 0).long() - (batch["targets"] < 0).long()
    errors = batch["errors"][positive == 1]
    return rg.ALRPLoss(localization_weight=0.5, group=group)(batch["scores"], positive, errors)


def _ap_at_most(batch: Batch, group: object) -> Tensor:
    positive = (batch["targets"] > 0).long() - (batch["targets"] < 0).long()
    return rg.APLoss(group=group, max_positives=35)(batch["scores"], positive)


def _alrp_at_most(batch: Batch, group: object) -> Tensor:
    positive = (batch["targets"] > 0).long() - (batch["targets"] < 0).long()
    given = torch.nn.functional.pad(batch["errors"][positive == 1], (0, 40), value=torch.nan)[:40]
    loss_fn = rg.ALRPLoss(localization_weight=0.5, group=group, max_positives=40)
    return loss_fn(batch["scores"], positive, given, batch["segments"])


def _too_many(batch: Batch, group: object) -> Tensor:
    """They stand on the first workers; the others raise as well."""
    try:
        return rg.APLoss(group=group, max_positives=3)(batch["scores"], batch["targets"] > 0)
    except ValueError:
        return 7.0 + 0.0 * batch["scores"].sum()


def _samples(*shape: int, n: int = 41, classes: int = 4) -> Callable[[torch.Generator], Batch]:
    """Scores of a shape per sample, labels with ties, one label per sample and several."""

    def make(generator: torch.Generator) -> Batch:
        scores = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, classes, (n,), generator=generator)
        many = torch.randint(0, 3, (n, *shape), generator=generator)
        mask = torch.rand(n, generator=generator) > 0.2
        return {"scores": scores, "labels": labels, "many": many, "mask": mask}

    return make


def _of_rows(loss_class: Callable[..., torch.nn.Module], **settings: object) -> Scenario:
    """A loss that ranks all samples in one row."""

    def loss(batch: Batch, group: object) -> Tensor:
        return loss_class(**settings, group=group)(batch["scores"], batch["labels"], batch["mask"])

    return Scenario(_samples(), loss)


def _of_columns(loss_class: Callable[..., torch.nn.Module], **settings: object) -> Scenario:
    """A loss that ranks the samples of each of three outputs, along dimension 0."""

    def loss(batch: Batch, group: object) -> Tensor:
        mask = batch["mask"][:, None]
        return loss_class(**settings, group=group, dim=0)(batch["scores"], batch["many"], mask)

    return Scenario(_samples(3), loss)


def _of_features(loss_class: Callable[..., torch.nn.Module], **settings: object) -> Scenario:
    def loss(batch: Batch, group: object) -> Tensor:
        loss_fn = loss_class(**settings, group=group)
        return loss_fn(batch["scores"], batch["labels"].double(), mask=batch["mask"])

    return Scenario(_samples(5), loss)


def _of_embeddings(loss_class: Callable[..., torch.nn.Module], **settings: object) -> Scenario:
    def loss(batch: Batch, group: object) -> Tensor:
        return loss_class(**settings, group=group)(batch["scores"], batch["labels"])

    return Scenario(_samples(5), loss)


def _of_lists(loss_class: Callable[..., torch.nn.Module], **settings: object) -> Scenario:
    """A loss of independent lists, one a sample: "mean" must count those of all workers."""

    def loss(batch: Batch, group: object) -> Tensor:
        relevance = batch["many"] * (batch["labels"] > 0)[:, None]  # some lists have nothing
        return loss_class(**settings, group=group)(batch["scores"], relevance)

    return Scenario(_samples(6), loss)


def _balanced(reduction: str) -> Loss:
    def loss(batch: Batch, group: object) -> Tensor:
        loss_fn = rg.BalancedMSELoss(0.7, reduction=reduction, group=group)
        return loss_fn(batch["scores"], batch["labels"])

    return loss


def _map(batch: Batch, group: object) -> Tensor:
    loss_fn = rg.MapRankingLoss(normalize=True, group=group)
    return loss_fn(batch["scores"], batch["many"] > 1, batch["mask"][:, None])


def _cross_modal(loss_class: Callable[..., torch.nn.Module]) -> Scenario:
    def loss(batch: Batch, group: object) -> Tensor:
        return loss_class(group=group)(batch["scores"], batch["mask"])

    return Scenario(_samples(41), loss)


def _own(ranks: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    return (ranks * labels * mask).sum(-1) / 100


SCENARIOS = {
    "rank_sort": Scenario(_detections(30), _rank_sort("mean")),
    "rank_sort, step": Scenario(_detections(30), _rank_sort("mean", delta=0.0)),
    "rank_sort, by segment": Scenario(_detections(40), _rank_sort("sum", segments=True)),
    "rank_sort, by sample": Scenario(_detections(30), _rank_sort("none"), local=True),
    "rank_sort, no positives": Scenario(_detections(0), _rank_sort("mean")),
    "rank_sort, at most": Scenario(_detections(30), _rank_sort("sum", most=30)),
    "rank_sort, at most, by segment": Scenario(
        _detections(40), _rank_sort("mean", segments=True, most=50)
    ),
    "rank_sort, at most, by sample": Scenario(
        _detections(30), _rank_sort("none", most=31), local=True
    ),
    "rank_sort, at most, no positives": Scenario(_detections(0), _rank_sort("sum", most=3)),
    "ap": Scenario(_detections(30), _ap),
    "ap, at most": Scenario(_detections(30), _ap_at_most),
    "ap, no positives": Scenario(_detections(0), _ap),
    "ap, too many": Scenario(_detections(30), _too_many),
    "alrp": Scenario(_detections(30), _alrp, trained=("scores", "errors")),
    "alrp, at most": Scenario(_detections(30), _alrp_at_most, trained=("scores", "errors")),
    "alrp, no positives": Scenario(_detections(0), _alrp, trained=("scores", "errors")),
    "spearman": _of_rows(rg.SpearmanLoss),
    "spearman, columns": _of_columns(rg.SpearmanLoss, ranker="projection", l1_weight=0.1),
    "kendall": _of_rows(rg.KendallLoss),
    "correlation": _of_columns(rg.CorrelationLoss),
    "concordance": _of_columns(rg.ConcordanceLoss, reduction="sum"),
    "pairwise difference": _of_rows(rg.PairwiseDifferenceLoss),
    "rank difference": _of_columns(rg.RankDifferenceLoss, beta=0.5),
    "ranksim": _of_features(rg.RankSimLoss, unique="first"),
    "ranksim, all": _of_features(rg.RankSimLoss, unique="none", ranker="projection"),
    "rank-n-contrast": _of_features(rg.RankNContrastLoss),
    "map": Scenario(_samples(3), _map),
    "rank": _cross_modal(rg.RankLoss),
    "rank hard": _cross_modal(rg.RankHardLoss),
    "own": _of_rows(rg.RankMetricLoss, criterion=_own, ranker="logistic"),
    "smooth ap": _of_embeddings(rg.SmoothAPLoss, temperature=0.1),
    "smooth ap, others": _of_embeddings(rg.SmoothAPLoss, temperature=0.1, include_self=False),
    "recall at k": _of_embeddings(rg.RecallAtKLoss, temperature=0.1),
    "smooth ap of scores": _of_lists(rg.SmoothAPLoss, temperature=0.1),
    "approx ndcg": _of_lists(rg.ApproxNDCGLoss),
    "approx mrr": _of_lists(rg.ApproxMRRLoss, reduction="sum"),
    "neural ndcg": _of_lists(rg.NeuralNDCGLoss),
    "lambda": _of_lists(rg.LambdaLoss),
    "list mle": _of_lists(rg.ListMLELoss),
    "list net": _of_lists(rg.ListNetLoss),
    "balanced mse": Scenario(_samples(), _balanced("mean")),
    "balanced mse, by sample": Scenario(_samples(), _balanced("none"), local=True),
}


def batch_of(name: str) -> Batch:
    """The whole batch of a scenario, ready for backward."""
    scenario = SCENARIOS[name]
    batch = scenario.make(torch.Generator().manual_seed(len(name)))
    return {k: v.requires_grad_(k in scenario.trained) for k, v in batch.items()}


def shards(batch: Batch, world: int) -> list[Batch]:
    """The batch in uneven parts, the second one empty."""
    n = len(next(iter(batch.values())))
    cuts = {2: [0, n, n], 3: [0, n // 3, n // 3, n], 4: [0, n // 5, n // 5, n // 2 + 3, n]}[world]
    return [
        {k: v.detach()[a:b].clone().requires_grad_(v.requires_grad) for k, v in batch.items()}
        for a, b in pairwise(cuts)
    ]


def outcome(scenario: Scenario, batch: Batch, group: object) -> dict[str, Tensor]:
    """The loss of a (shard of a) batch and the gradients of what is trained."""
    loss = scenario.loss(batch, group)
    weights = torch.arange(loss.numel(), dtype=loss.dtype).view(loss.shape).add(1) / 10
    (loss * weights if scenario.local else loss).sum().backward()
    found = {"loss": loss.detach()}
    for name in scenario.trained:
        gradient = batch[name].grad
        assert gradient is not None
        found[name] = gradient
    return found
