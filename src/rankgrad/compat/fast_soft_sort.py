"""The functions of google-research/fast-soft-sort for PyTorch.

``from fast_soft_sort.pytorch_ops import soft_rank`` becomes
``from rankgrad.compat.fast_soft_sort import soft_rank``. Values agree. Gradients agree except that
of the "kl" soft sort, which is wrong in the original wherever it pools and is right here, and that
of a soft sort between equal values, where the original's choice depends on its sort. Any number of
dimensions is taken, not two alone, and the work stays on the tensor's device.
"""

from jaxtyping import Float
from torch import Tensor

from rankgrad.checks import check_choice
from rankgrad.rankers.projection import Projection

__all__ = ["soft_rank", "soft_sort"]

_DIRECTIONS = ("ASCENDING", "DESCENDING")


def soft_rank(
    values: Float[Tensor, "*batch n"],
    direction: str = "ASCENDING",
    regularization_strength: float = 1.0,
    regularization: str = "l2",
) -> Float[Tensor, "*batch n"]:
    """Return soft ranks of the last dimension, in the dtype of ``values``.

    Args:
        values: floating point.
        direction: "ASCENDING" gives rank 1 to the smallest value, "DESCENDING" to the largest.
        regularization_strength: above zero; a small one gives hard ranks.
        regularization: "l2" or "kl".

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: an unknown direction or regularization, or a strength that is not above zero.

    >>> import torch
    >>> soft_rank(torch.tensor([[0.1, 0.7, 0.4]]), regularization_strength=0.1)
    tensor([[1., 3., 2.]])
    """
    check_choice("direction", direction, _DIRECTIONS)
    ranker = Projection(regularization, regularization_strength)
    return ranker(-values if direction == "ASCENDING" else values).to(values.dtype)


def soft_sort(
    values: Float[Tensor, "*batch n"],
    direction: str = "ASCENDING",
    regularization_strength: float = 1.0,
    regularization: str = "l2",
) -> Float[Tensor, "*batch n"]:
    """Return softly sorted values of the last dimension.

    Args:
        values: floating point.
        direction: "ASCENDING" or "DESCENDING".
        regularization_strength: above zero; a small one gives the sorted values.
        regularization: "l2" or "kl".

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: an unknown direction or regularization, or a strength that is not above zero.

    >>> import torch
    >>> soft_sort(torch.tensor([[0.1, 0.7, 0.4]]), regularization_strength=0.1)
    tensor([[0.1000, 0.4000, 0.7000]])
    """
    check_choice("direction", direction, _DIRECTIONS)
    ranker = Projection(regularization, regularization_strength)
    return ranker.sort(values, descending=direction == "DESCENDING")
