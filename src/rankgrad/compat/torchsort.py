"""The functions of the torchsort package.

``import torchsort`` becomes ``from rankgrad.compat import torchsort``. Values and gradients agree;
nothing is compiled on installation, any number of dimensions is taken, and rows are not limited to
the integers that the dtype can count.
"""

from jaxtyping import Float
from torch import Tensor

from rankgrad.compat import fast_soft_sort

__all__ = ["soft_rank", "soft_sort"]


def soft_rank(
    values: Float[Tensor, "*batch n"],
    regularization: str = "l2",
    regularization_strength: float = 1.0,
) -> Float[Tensor, "*batch n"]:
    """Return soft ranks of the last dimension, rank 1 = smallest, in the dtype of ``values``.

    Args:
        values: floating point.
        regularization: "l2" or "kl".
        regularization_strength: above zero; a small one gives hard ranks.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: an unknown regularization, or a strength that is not above zero.

    >>> import torch
    >>> soft_rank(torch.tensor([[8.0, 0.0, 5.0, 3.0, 2.0, 1.0, 6.0, 7.0, 9.0]]))
    tensor([[8., 1., 5., 4., 3., 2., 6., 7., 9.]])
    """
    return fast_soft_sort.soft_rank(values, "ASCENDING", regularization_strength, regularization)


def soft_sort(
    values: Float[Tensor, "*batch n"],
    regularization: str = "l2",
    regularization_strength: float = 1.0,
) -> Float[Tensor, "*batch n"]:
    """Return softly sorted values of the last dimension, smallest first.

    Args:
        values: floating point.
        regularization: "l2" or "kl".
        regularization_strength: above zero; a small one gives the sorted values.

    Raises:
        TypeError: ``values`` is not floating point.
        ValueError: an unknown regularization, or a strength that is not above zero.

    >>> import torch
    >>> soft_sort(torch.tensor([[8.0, 0.0, 5.0, 3.0]]), regularization_strength=0.1)
    tensor([[0., 3., 5., 8.]])
    """
    return fast_soft_sort.soft_sort(values, "ASCENDING", regularization_strength, regularization)
