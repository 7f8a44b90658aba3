"""What every sorter is: a module from scores to ranks over their number."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankgrad.checks import check_floating, check_mask, compute_dtype

__all__ = ["Sorter"]


class Sorter(nn.Module):
    """A network that ranks: ``sorter(scores) -> rank / n``, 1 / n = largest, 1 = smallest.

    A subclass names its architecture and implements ``_ranks``.

    Args:
        length: how many scores a sequence has. A sorter of any length keeps it only as the length
            it was trained for.
    """

    architecture: ClassVar[str]
    """The published short name, or ours."""
    any_length: ClassVar[bool] = False
    """Whether sequences of every length are taken."""
    takes_mask: ClassVar[bool] = False
    """Whether scores can be masked out."""
    collects: ClassVar[bool] = False
    """Whether training mode means something while the weights are frozen."""
    shortest: ClassVar[int] = 1
    """The smallest length there is."""

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        if length is None and not self.any_length:
            raise ValueError(f"length must be given: a sorter {self.architecture!r} takes one only")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int)):
            raise TypeError(f"length must be an integer, got {type(length).__name__}")
        if length is not None and length < self.shortest:
            raise ValueError(
                f"length must be at least {self.shortest} for a sorter {self.architecture!r}, "
                f"got {length}"
            )
        self.length = length

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*batch n"]:
        """Return the ranks of the last dimension, over its length.

        Args:
            scores: floating point, at least one dimension; the leading ones are batch.
            mask: boolean, broadcastable to ``scores``, True = valid; only for sorters with
                ``takes_mask``. What comes out at masked places means nothing.

        Returns:
            The shape of ``scores``; float64 for float64 scores, float32 for all others.

        Raises:
            TypeError: ``scores`` is not floating point or ``mask`` not boolean.
            ValueError: a length that this sorter does not take, or a mask where it takes none.
        """
        check_floating("scores", scores)
        if scores.dim() == 0:
            raise ValueError("scores must have at least one dimension, got a scalar")
        self.check_length(scores.shape[-1])
        dtype = compute_dtype(scores)
        x = scores.to(dtype)
        if mask is not None:
            self.check_takes_mask()
            check_mask("mask", mask, "scores", scores)
        if x.numel() == 0:
            return x.clone()
        rows = x.reshape(-1, x.shape[-1])
        if mask is not None:
            mask = mask.broadcast_to(x.shape).reshape(rows.shape)
        return self._ranks(rows, mask).reshape(x.shape).to(dtype)

    @abstractmethod
    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        """Return ranks over n of ``[rows, n]`` float32 or float64 scores."""

    def check_length(self, n: int) -> None:
        """Raise ``ValueError`` unless sequences of ``n`` scores are taken."""
        if self.any_length or n == self.length:
            return
        raise ValueError(
            f"scores must have {self.length} entries in the last dimension, the length of this "
            f"{self.architecture!r} sorter, got {n}; {_LONG} take any length"
        )

    def check_takes_mask(self) -> None:
        """Raise ``ValueError`` unless scores can be masked out."""
        if not self.takes_mask:
            raise ValueError(
                f"mask was given, but a sorter {self.architecture!r} cannot leave scores out; "
                f"{_MASKED} can"
            )

    def freeze(self) -> None:
        """Let the weights be: no gradients for them, evaluation mode."""
        self.requires_grad_(False)
        if not self.collects:
            self.eval()

    def extra_repr(self) -> str:
        """Return the length for ``print``."""
        return "" if self.length is None else f"length={self.length}"


# In errors; a test compares them with the registry, which this file cannot know.
_LONG = "'set', 'exa', 'grus' and 'gruc'"
_MASKED = "'set' and 'exa'"


def weight_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype that a network computes in."""
    return next(module.parameters(), torch.empty(0)).dtype
