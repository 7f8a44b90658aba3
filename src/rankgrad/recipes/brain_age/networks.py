"""ScaleDense, and the second stage that corrects its answer."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.recipes.brain_age.layers import DenseBlock, initialise

__all__ = ["ScaleDense", "SecondStage", "smallest_size"]


class _Network(nn.Module):
    """From the volume to channel means, and from features to the answer.

    Heads for both settings of ``sex`` are there, as published, so that either loads the other's
    weights; the parameters of the one that is not used are frozen, for optimizers and DDP.
    """

    def __init__(self, filters: int, blocks: int, sex: bool) -> None:
        super().__init__()
        self.sex = sex
        self.pre = nn.Sequential(
            nn.Conv3d(1, filters, kernel_size=7, stride=1, padding=1, dilation=2), nn.ELU()
        )
        channels = [filters * 3**i for i in range(blocks + 1)]
        self.block = nn.Sequential(*(DenseBlock(c) for c in channels[:-1]))
        self.channels = channels[-1]

    def _add_heads(self, extra: int) -> None:
        self.male_fc = nn.Sequential(nn.Linear(2, 16), nn.Linear(16, 8), nn.ELU())
        self.end_fc_with_gender = nn.Sequential(nn.Linear(40 + extra, 16), nn.Linear(16, 1))
        self.end_fc_without_gender = nn.Sequential(nn.Linear(32 + extra, 16), nn.Linear(16, 1))
        self.apply(initialise)
        unused = [self.end_fc_without_gender] if self.sex else [self.end_fc_with_gender]
        for part in [*unused, *([] if self.sex else [self.male_fc])]:
            part.requires_grad_(False)

    @property
    def last_bias(self) -> Tensor:
        """The bias of the layer that gives the answer."""
        head: Any = self.end_fc_with_gender if self.sex else self.end_fc_without_gender
        bias: Tensor = head[-1].bias
        return bias

    def _means(self, image: Tensor) -> Tensor:
        maps: Tensor = self.block(self.pre(image))
        return maps.flatten(2).mean(2).to(self.last_bias.dtype)

    def _answer(self, features: Sequence[Tensor], sex: Tensor | None) -> Tensor:
        if not self.sex:
            answer: Tensor = self.end_fc_without_gender(torch.cat(list(features), 1))
            return answer
        if sex is None:
            raise ValueError("sex must be given, one-hot [b, 2]: this network takes it")
        first, *rest = features
        said = self.male_fc(sex.to(first.dtype))
        answer = self.end_fc_with_gender(torch.cat((first, said, *rest), 1))
        return answer


def _to_features(channels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(channels, 32), nn.ELU())


def _full_precision(x: Tensor) -> torch.autocast:
    """The small layers at the end gain nothing from bfloat16, and lose half a year in 100."""
    return torch.autocast(x.device.type, enabled=False)


class ScaleDense(_Network):
    """TSAN's first stage: from a brain, and its sex, to an age.

    A 7 x 7 x 7 convolution with dilation 2; dense blocks, each of which halves the size and gives
    three times the channels; global means; two linear layers; ReLU. With 8 filters and 5 blocks it
    has the published 102 million parameters, and its state dict is theirs, name by name.

    The ReLU at the end can die: if no answer is above zero, nothing has a gradient. The recipe
    starts the last bias at the mean age of the training set, which rules it out in practice, and
    stops a run whose answers stay 0 all the same.

    Args:
        filters: channels of the first convolution.
        blocks: dense blocks.
        sex: whether sex is an input.

    Source: Cheng et al.: Brain age estimation from MRI using cascade networks with ranking loss.
    IEEE TMI 2021.

    >>> network = ScaleDense(filters=2, blocks=2)
    >>> network(torch.randn(3, 1, 24, 28, 24), torch.eye(2)[[0, 1, 1]]).shape
    torch.Size([3, 1])
    """

    def __init__(self, filters: int = 8, blocks: int = 5, sex: bool = True) -> None:
        super().__init__(filters, blocks, sex)
        self.deep_fc = _to_features(self.channels)
        self._add_heads(extra=0)

    def forward(
        self, image: Float[Tensor, "b 1 d h w"], sex: Float[Tensor, "b 2"] | None = None
    ) -> Float[Tensor, "b 1"]:
        """Return ages, at least 0."""
        means = self._means(image)
        with _full_precision(means):
            return torch.relu(self._answer([self.deep_fc(means)], sex))


class SecondStage(_Network):
    """TSAN's second stage: what to add to a rounded age, from the brain and that age.

    The trunk of :class:`ScaleDense`; the rounded age goes through layers of 32 and 16 and stands
    beside the other features. No ReLU at the end.

    Args:
        filters: channels of the first convolution.
        blocks: dense blocks.
        sex: whether sex is an input.

    >>> network = SecondStage(filters=2, blocks=2, sex=False)
    >>> residual, age = network(torch.randn(2, 1, 24, 28, 24), torch.tensor([[35.0], [60.0]]))
    >>> torch.equal(age, torch.tensor([[35.0], [60.0]]) + residual)
    True
    """

    def __init__(self, filters: int = 8, blocks: int = 5, sex: bool = True) -> None:
        super().__init__(filters, blocks, sex)
        self.fc = _to_features(self.channels)
        self.dis_fc = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self._add_heads(extra=16)

    def forward(
        self,
        image: Float[Tensor, "b 1 d h w"],
        rounded: Float[Tensor, "b 1"],
        sex: Float[Tensor, "b 2"] | None = None,
    ) -> tuple[Float[Tensor, "b 1"], Float[Tensor, "b 1"]]:
        """Return the residual, and the age: the residual and the rounded age."""
        means = self._means(image)
        rounded = rounded.to(means.dtype)
        with _full_precision(means):
            residual = self._answer([self.fc(means), self.dis_fc(rounded)], sex)
        return residual, residual + rounded


def smallest_size(blocks: int) -> int:
    """Return the shortest side of a volume that so many blocks can halve.

    >>> smallest_size(5)
    42
    """
    # The first convolution takes 10 off.
    return int(10 + 2**blocks)
