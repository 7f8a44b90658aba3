"""Self-balancing: how the ranking losses weigh the box loss beside them, without a setting."""

import math
from typing import Any

import torch
from torch import Tensor

from rankgrad.checks import check_positive

__all__ = ["EpochBalance", "balance"]


def balance(loss: Tensor, reference: Tensor) -> Tensor:
    """Return ``loss * |reference / loss|`` with the factor detached: the value of ``reference``.

    Rank & Sort weighs each of its other losses (box, mask) so in every step: the value becomes
    that of the ranking loss and the gradient is scaled by the same factor. A loss of exactly 0 has
    nothing to scale and is returned as it is.

    Args:
        loss: scalar, the loss to weigh.
        reference: scalar, the loss whose value it shall take.

    >>> box = torch.tensor(4.0, requires_grad=True)
    >>> balanced = balance(box, torch.tensor(0.5))
    >>> balanced.backward()
    >>> balanced.item(), box.grad.item()
    (0.5, 0.125)
    """
    value = loss.detach()
    idle = value == 0
    factor = (reference.detach() / torch.where(idle, 1.0, value)).abs()
    return loss * torch.where(idle, 1.0, factor)


class EpochBalance:
    """The balance of aLRP: one weight for the localisation part, renewed once an epoch.

    The weight starts at 50. After ``steps`` calls of :meth:`update` it becomes
    ``(mean localization + mean classification) / mean localization`` of those calls. An epoch that
    gives no such number (no localisation error at all, or a NaN) leaves it as it is. That call
    waits for a GPU, the others do not.

    Args:
        steps: optimiser steps in an epoch.
        initial: weight of the first epoch.

    >>> schedule = EpochBalance(steps=2)
    >>> schedule.weight
    50.0
    >>> for _ in range(2):
    ...     schedule.update(torch.tensor(0.6), torch.tensor(0.2))
    >>> round(schedule.weight, 4)
    4.0
    """

    def __init__(self, steps: int, initial: float = 50.0) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be an integer >= 1, got {steps!r}")
        self.steps = steps
        self.weight = check_positive("initial", initial)
        self._sums: Tensor | None = None
        self._seen = 0

    def update(self, classification: Tensor, localization: Tensor) -> None:
        """Note the two parts of one step, and renew the weight when the epoch is over."""
        pair = torch.stack((classification.detach(), localization.detach())).double()
        self._sums = pair if self._sums is None else self._sums.to(pair.device) + pair
        self._seen += 1
        if self._seen == self.steps:  # the one moment at which values are read off the device
            total_classification, total_localization = self._sums.tolist()
            if total_localization > 0 and math.isfinite(total_localization + total_classification):
                self.weight = (total_localization + total_classification) / total_localization
            self._sums, self._seen = None, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes to go on from here."""
        sums = [0.0, 0.0] if self._sums is None else self._sums.tolist()
        return {"weight": self.weight, "seen": self._seen, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.weight = float(state["weight"])
        self._seen = int(state["seen"])
        self._sums = torch.tensor(state["sums"], dtype=torch.float64) if self._seen else None
