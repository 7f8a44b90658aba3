"""Both stages as one model that answers with ages."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.recipes.brain_age.discretise import discretise
from rankgrad.recipes.brain_age.networks import ScaleDense, SecondStage
from rankgrad.recipes.brain_age.settings import BrainAgeSettings

__all__ = ["BrainAgeModel", "autocast"]


class BrainAgeModel(nn.Module):
    """The first stage, and the second if there is one.

    Args:
        settings: of the run.
        second: whether there is a second stage.
    """

    def __init__(self, settings: BrainAgeSettings, *, second: bool) -> None:
        super().__init__()
        shape = settings.filters, settings.blocks, settings.sex
        self.first = ScaleDense(*shape)
        self.second = SecondStage(*shape) if second else None
        self.age_step = settings.age_step

    def forward(
        self, image: Float[Tensor, "b 1 d h w"], sex: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b stages"]:
        """Return the ages of each stage, a column a stage."""
        first: Tensor = self.first(image, sex)
        if self.second is None:
            return first
        return torch.cat((first, self.refine(image, sex, first)), 1)

    def refine(self, image: Tensor, sex: Tensor, first: Tensor) -> Tensor:
        """Return the second stage's ages; no gradient goes to those of the first."""
        assert self.second is not None
        ages: Tensor = self.second(image, discretise(first.detach(), self.age_step), sex)[1]
        return ages


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return what a forward pass runs in."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))
