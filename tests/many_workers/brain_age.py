"""A brain-age network on phantoms: what several workers and one process must agree on."""

from pathlib import Path

import torch
from torch import Tensor, nn

from rankgrad.data.nifti import read_scans, write_phantoms
from rankgrad.recipes.brain_age.batches import even_parts
from rankgrad.recipes.brain_age.many_workers import workers_of
from rankgrad.recipes.brain_age.running import Parts, open_parts
from rankgrad.recipes.brain_age.settings import BrainAgeSettings
from rankgrad.recipes.brain_age.training import StageTrainer

SETTINGS = BrainAgeSettings(
    filters=2, blocks=2, size=(18, 20, 18), epochs=1, batch_size=7, augment=False
)


def open_phantoms(folder: Path) -> Parts:
    table = write_phantoms(folder / "phantoms", 20, size=SETTINGS.size)
    return open_parts(read_scans(folder / "phantoms" / "images", table), SETTINGS)


def gradient(settings: BrainAgeSettings, parts: Parts) -> Tensor:
    """Of the first batch, after one step; batch norm as in evaluation, to have equal answers."""
    trainer = StageTrainer(settings, 1, parts.train, parts.validation)
    trainer.trained.train()
    for module in trainer.trained.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    mine = even_parts(torch.arange(7), 7, workers_of(trainer.group))
    (batch,) = trainer.batches.read(mine)
    trainer._step(batch)
    used = [p.grad.flatten() for p in trainer.trained.parameters() if p.grad is not None]
    return torch.cat(used)
