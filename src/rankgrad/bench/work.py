"""What candidates are given to do: a function there and back, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Outcome", "both_ways", "differences", "normal"]


@dataclass(frozen=True)
class Outcome:
    """What a call computed: results, and gradients of its inputs."""

    values: Sequence[Tensor]
    gradients: Sequence[Tensor] = ()


def normal(*shape: int) -> Tensor:
    """Return normal numbers, the same ones every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def both_ways(function: Callable[..., Any], *inputs: Tensor) -> Callable[[], Outcome]:
    """Return a call of the function and of the gradient of its inputs.

    A scalar result is differentiated as it is; other results meet weights that depend on their
    shape alone, so that functions which compute the same have the same gradient.
    """
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    weights: list[Tensor] = []

    def run() -> Outcome:
        out = function(*leaves)
        results = out if isinstance(out, tuple) else (out,)
        if not weights:
            weights.extend(_weight(result) for result in results)
        gradients = torch.autograd.grad(results, leaves, weights)
        return Outcome([result.detach() for result in results], gradients)

    return run


def _weight(result: Tensor) -> Tensor:
    if result.dim() == 0:
        return torch.ones_like(result)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(result.shape, generator=generator).to(result)


def differences(ours: Outcome, theirs: Outcome) -> tuple[float | None, float | None]:
    """Return the largest difference of results and of gradients, over the largest magnitude."""
    return _largest(ours.values, theirs.values), _largest(ours.gradients, theirs.gradients)


def _largest(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float | None:
    if not ours or not theirs:
        return None
    return max(
        ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-300)).item()
        for a, b in zip(ours, theirs, strict=True)
    )
