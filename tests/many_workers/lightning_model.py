"""A Lightning module whose loss is that of the whole world, and its trainer."""

import logging
import warnings

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import rankgrad as rg

BATCH = 24
STEPS = 6


class Detector(lightning.LightningModule):
    """Scores by a small network, under Rank & Sort and a Spearman loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()
        self.rank_sort = rg.RankSortLoss(group="world")
        self.spearman = rg.SpearmanLoss(group="world")
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, ious = batch
        scores = self.network(x).squeeze(-1)
        loss = self.rank_sort(scores, ious) + self.spearman(scores, x[:, 0])
        self.losses.append(loss.item())
        return loss

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(STEPS, BATCH, 6, generator=generator, dtype=torch.float64)
        ious = torch.rand(STEPS, BATCH, generator=generator, dtype=torch.float64)
        ious[:, BATCH // 2 :] = 0.0  # the second worker has no positive
        ious[ious < 0.3] = 0.0
        size = BATCH // self.trainer.world_size
        part = slice(self.global_rank * size, (self.global_rank + 1) * size)
        return DataLoader(
            TensorDataset(x[:, part].flatten(0, 1), ious[:, part].flatten()), batch_size=size
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)


def fit(workers: int) -> Detector:
    """Train for two epochs, each batch of one process shared out among the workers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    model = Detector()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=workers,
        strategy="ddp" if workers > 1 else "auto",
        max_epochs=2,
        use_distributed_sampler=False,  # which would shuffle
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model)
    return model
