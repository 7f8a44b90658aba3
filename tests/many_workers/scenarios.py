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


def _rank_sort(reduction: str, segments: bool = False, delta: float = 0.5) -> Loss:
    def loss(batch: Batch, group: object) -> Tensor:
        ranking, sorting = rg.functional.rank_sort(
            batch["scores"],
            batch["targets"],
            delta=delta,
            segments=batch["segments"] if segments else None,
            reduction=reduction,
            group=group,
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


SCENARIOS = {
    "rank_sort": Scenario(_detections(30), _rank_sort("mean")),
    "rank_sort, step": Scenario(_detections(30), _rank_sort("mean", delta=0.0)),
    "rank_sort, by segment": Scenario(_detections(40), _rank_sort("sum", segments=True)),
    "rank_sort, by sample": Scenario(_detections(30), _rank_sort("none"), local=True),
    "rank_sort, no positives": Scenario(_detections(0), _rank_sort("mean")),
    "ap": Scenario(_detections(30), _ap),
    "ap, no positives": Scenario(_detections(0), _ap),
    "alrp": Scenario(_detections(30), _alrp, trained=("scores", "errors")),
    "alrp, no positives": Scenario(_detections(0), _alrp, trained=("scores", "errors")),
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
