"""Ten steps of a small detector head: what DDP and one process must agree on."""

import torch
from torch import Tensor, nn

import rankgrad as rg

STEPS = 10


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Features and IoUs of one step; the positives stand together, so that a shard has none."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(90, 6, generator=generator, dtype=torch.float64)
    ious = torch.zeros(90, dtype=torch.float64)
    ious[5:20] = torch.rand(15, generator=generator, dtype=torch.float64) * 0.9 + 0.1
    return x, ious


def train(network: nn.Module, part: slice, group: object) -> list[float]:
    """Train on a part of every batch; return the losses."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    loss_fn = rg.RankSortLoss(group=group)
    losses = []
    for step in range(STEPS):
        x, ious = batch(step)
        optimizer.zero_grad()
        loss = loss_fn(network(x[part]).squeeze(-1), ious[part])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
