"""The module of the PyPI package diffsort.

``from diffsort import DiffSortNet`` becomes ``from rankgrad.compat.diffsort import DiffSortNet``.
Sorted vectors and permutation matrices are the same, ascending, and so are gradients.

The original's "bitonic" network does not sort at every size: 22, 38, 42 to 46, 54 and 70 are the
first at which some inputs come out unsorted, at any steepness. There this module uses a network
that does. The networks live on no device; one module serves all.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.checks import check_choice, check_floating, compute_dtype
from rankgrad.kernels.reference.network import comparators
from rankgrad.rankers.network import SortingNetwork, network_apply

__all__ = ["DiffSortNet"]

_NORMAL = {"gaussian": "normal"}


class DiffSortNet(torch.nn.Module):
    """Sort the rows of a matrix, smallest first, by a differentiable sorting network.

    Args:
        sorting_network_type: "odd_even" or "bitonic".
        size: the length of the rows.
        device: taken for the original's sake; vectors on any device are served.
        steepness: the inverse temperature of the comparators.
        art_lambda: the exponent of "logistic_phi".
        interpolation_type: the older name of ``distribution``.
        distribution: "cauchy", "logistic", "logistic_phi", "gaussian", "reciprocal" or "optimal".

    Returns:
        Called with ``vectors`` [batch, size]: the sorted vectors, and matrices
        [batch, size, size] whose rows are the elements and whose columns are the places.

    Raises:
        ValueError: a name that is not known, two different distributions, or vectors of another
            shape.
        TypeError: vectors that are not floating point.

    >>> sorter = DiffSortNet("odd_even", 3, steepness=20.0)
    >>> sorted_vectors, permutations = sorter(torch.tensor([[0.4, 0.7, 0.1]]))
    >>> sorted_vectors
    tensor([[0.1316, 0.4000, 0.6684]])
    """

    def __init__(
        self,
        sorting_network_type: str,
        size: int,
        device: str | torch.device = "cpu",
        steepness: float = 10.0,
        art_lambda: float = 0.25,
        interpolation_type: str | None = None,
        distribution: str = "cauchy",
    ) -> None:
        super().__init__()
        check_choice("sorting_network_type", sorting_network_type, ("odd_even", "bitonic"))
        if interpolation_type is not None:
            if distribution not in ("cauchy", interpolation_type):
                raise ValueError(
                    f"interpolation_type is an older name of distribution and must agree with it, "
                    f"got {interpolation_type!r} and {distribution!r}"
                )
            distribution = interpolation_type
        self.sorting_network_type = sorting_network_type
        self.size = size
        self.steepness = steepness
        self.art_lambda = art_lambda
        self.distribution = distribution
        self._network = SortingNetwork(
            sorting_network_type, _NORMAL.get(distribution, distribution), steepness, art_lambda
        )
        padded = size & (size - 1) != 0  # with a power of two the two wirings are one network
        published = sorting_network_type == "bitonic" and padded and _sorts("alternating", size)
        self._wiring = "alternating" if published else sorting_network_type

    def extra_repr(self) -> str:
        return (
            f"{self.sorting_network_type!r}, {self.size}, steepness={self.steepness}, "
            f"distribution={self.distribution!r}"
        )

    def forward(
        self, vectors: Float[Tensor, "batch size"]
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size size"]]:
        check_floating("vectors", vectors)
        if vectors.dim() != 2 or vectors.shape[1] != self.size:
            raise ValueError(
                f"vectors must have the shape (batch, {self.size}), got {tuple(vectors.shape)}"
            )
        x = vectors.to(compute_dtype(vectors))
        count = torch.full(x.shape[:1], self.size, device=x.device)
        net = self._network
        matrix = network_apply(
            x, count, None, self._wiring, net.distribution, net.steepness, net.art_lambda, False
        )
        permutation = matrix.flip(-2).mT
        ascending = (x.unsqueeze(-2) @ permutation).squeeze(-2)
        return ascending.to(vectors.dtype), permutation.to(vectors.dtype)


@cache
def _sorts(kind: str, n: int) -> bool:
    """Try a network on zeros and ones: one that sorts those sorts everything."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(4096, n, generator=draw) < torch.rand(4096, 1, generator=draw)
    for low, high in comparators(kind, n):
        a, b = x[:, low], x[:, high]
        x[:, low], x[:, high] = a & b, a | b
    return not (x[:, 1:] < x[:, :-1]).any()
