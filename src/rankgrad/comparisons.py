"""How decisively a score difference counts as "ahead": a step, or a softened step.

A comparison ``H`` rises from 0 to 1 and ``H(-x) = 1 - H(x)``. Weighted sums of comparisons over
pairs are what :func:`rankgrad.pairwise_sum` computes and what ranks and rank losses are made of.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.checks import check_finite_number, check_positive

__all__ = ["Cauchy", "Comparison", "Laplace", "Logistic", "Normal", "Ramp", "Step"]


@dataclass(frozen=True)
class Comparison(ABC):
    """A softened step: frozen, hashable, knows its value and its derivative."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def scale(self) -> float:
        """The width that differences are measured in."""

    @property
    def tie(self) -> float:
        """The value at a difference of exactly zero."""
        return 0.5

    @abstractmethod
    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ``H(x)``, elementwise."""

    @abstractmethod
    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ``H'(x)``, elementwise."""


@dataclass(frozen=True)
class Step(Comparison):
    """The hard step: 1 if ``x > 0``, 0 if ``x < 0``, ``tie`` if ``x == 0``. No derivative.

    With ``tie = 0.5`` sums of steps are average ranks, with 0 minimum and with 1 maximum ranks.

    >>> Step().value(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """

    tie: float = 0.5  # the one comparison where it is a setting

    kind = "step"

    def __post_init__(self) -> None:
        if not 0 <= check_finite_number("tie", self.tie) <= 1:
            raise ValueError(f"tie must be in [0, 1], got {self.tie}")

    @property
    def scale(self) -> float:
        return 1.0

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        ahead = torch.where(x == 0, self.tie, (x > 0).to(x.dtype))
        return torch.where(x.isnan(), x, ahead.to(x.dtype))

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Ramp(Comparison):
    """A straight rise over ``-w .. w``: ``clamp(x / (2 w) + 1/2, 0, 1)`` with ``w = half_width``.

    The comparison of the AP, aLRP and Rank & Sort losses.

    >>> Ramp(half_width=0.5).value(torch.tensor([-1.0, 0.0, 0.25]))
    tensor([0.0000, 0.5000, 0.7500])
    """

    half_width: float = 0.5

    kind = "ramp"

    def __post_init__(self) -> None:
        check_positive("half_width", self.half_width)

    @property
    def scale(self) -> float:
        return self.half_width

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (x / (2 * self.half_width) + 0.5).clamp(0, 1)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (x.abs() < self.half_width).to(x.dtype) / (2 * self.half_width)


@dataclass(frozen=True)
class _Smooth(Comparison):
    """A cumulative distribution function, stretched by a temperature."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    @property
    def scale(self) -> float:
        return self.temperature


@dataclass(frozen=True)
class Logistic(_Smooth):
    """The logistic function ``1 / (1 + exp(-x / temperature))``.

    >>> Logistic().value(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.7311])
    """

    kind = "logistic"

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.sigmoid(x / self.temperature)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        z = x / self.temperature
        return torch.sigmoid(z) * torch.sigmoid(-z) / self.temperature


@dataclass(frozen=True)
class Laplace(_Smooth):
    """The Laplace distribution function: ``exp(x / temperature) / 2`` below 0, mirrored above.

    >>> Laplace().value(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.8161])
    """

    kind = "laplace"

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        tail = 0.5 * torch.exp(-(x / self.temperature).abs())
        return torch.where(x > 0, 1 - tail, tail)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return 0.5 * torch.exp(-(x / self.temperature).abs()) / self.temperature


@dataclass(frozen=True)
class Normal(_Smooth):
    """The normal distribution function ``(1 + erf(x / (temperature sqrt 2))) / 2``.

    >>> Normal().value(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.8413])
    """

    kind = "normal"

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return 0.5 * torch.erfc(-x / (self.temperature * math.sqrt(2)))

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        z = x / self.temperature
        return torch.exp(-0.5 * z * z) / (self.temperature * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class Cauchy(_Smooth):
    """The Cauchy distribution function ``1/2 + atan(x / temperature) / pi``. Heavy tails.

    >>> Cauchy().value(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.7500])
    """

    kind = "cauchy"

    def value(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return 0.5 + torch.atan(x / self.temperature) / math.pi

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        z = x / self.temperature
        return 1 / (math.pi * self.temperature * (1 + z * z))
