"""Where the positives stand among the logits: a slot each, of which some may be free.

The number of positives is a size, and to learn it the host waits for the device. Given a bound on
it, there are as many slots as that, and nobody has to know how many are taken.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Slots"]


@dataclass(frozen=True)
class Slots:
    """Places in a flat tensor.

    Attributes:
        index: [p] int64. A free slot has the place of the first, or 0 if all are free.
        taken: [p] bool, the slots of positives; None if no slot is free.
    """

    index: Tensor
    taken: Tensor | None = None

    @classmethod
    def of(cls, places: Tensor, bounded: bool) -> "Slots":
        """Read places [p]; if there is a bound, those of free slots are -1 and the last ones."""
        if not bounded:
            return cls(places)
        taken = places >= 0
        return cls(torch.where(taken, places, places[:1].clamp(min=0)), taken)

    @property
    def places(self) -> Tensor:
        """[p] what :meth:`of` reads."""
        return self.index if self.taken is None else torch.where(self.taken, self.index, -1)

    def __getitem__(self, order: Tensor) -> "Slots":
        """Return the slots in another order, in which the free ones are the last as well."""
        index = self.index[order]
        if self.taken is None:
            return Slots(index)
        return Slots(torch.where(self.taken, index, index[:1]), self.taken)

    def count(self, like: Tensor) -> Tensor:
        """Return how many are taken, a scalar of the dtype of ``like``."""
        if self.taken is None:
            return like.new_full((), self.index.shape[0])
        return self.taken.sum().to(like.dtype)

    def only(self, values: Tensor, free: float | int = 0) -> Tensor:
        """Return ``values`` [..., p] with ``free`` in the free slots."""
        return values if self.taken is None else torch.where(self.taken, values, free)

    def take(self, values: Tensor, free: float | int = 0) -> Tensor:
        """Return what stands in ``values`` [..., n] at the slots, ``free`` for free ones."""
        if values.shape[-1] == 0:  # no place at all, and perhaps slots
            return values.new_full((*values.shape[:-1], *self.index.shape), free)
        return self.only(values[..., self.index], free)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """Write ``values`` [p] to their places in ``into`` [n], and return it."""
        if into.numel() == 0:
            return into
        values = values.to(into.dtype)
        if self.taken is not None:
            # Free slots write what the first one does, in whatever order they come.
            first = torch.where(self.taken[:1], values[:1], into[self.index[:1]])
            values = torch.where(self.taken, values, first)
        into[self.index] = values
        return into

    def scatter(self, values: Tensor, like: Tensor) -> Tensor:
        """Return a tensor like ``like`` with ``values`` at their places and zero elsewhere."""
        return self.put(torch.zeros_like(like), values)
