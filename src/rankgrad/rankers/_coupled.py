"""Permutation matrices that are couplings: ``P_ij = exp(a_i x_j + f_i + g_j)``."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.rankers._matrices import coupling_matrix
from rankgrad.rankers._sorted import SortedRanker, SortedScores
from rankgrad.rankers.coupling import coupling_apply

__all__ = ["CoupledRanker"]


@dataclass(frozen=True)
class CoupledRanker(SortedRanker):
    """A ranker whose matrix is known by its potentials, over sorted scores ``x``."""

    @abstractmethod
    def _potentials(self, s: SortedScores) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``a``, ``f`` and ``g``, [*batch, n]; -inf behind the valid scores."""

    def _average(self, s: SortedScores, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        a, f, g = self._potentials(s)
        out: Tensor = coupling_apply(a, s.x, f, g, v.unsqueeze(-2)).squeeze(-2)
        return out

    def _dense(
        self, s: SortedScores, broken: Bool[Tensor, "*batch 1"]
    ) -> Float[Tensor, "*batch n n"]:
        a, f, g = self._potentials(s)
        x = torch.where(broken, torch.nan, s.x)
        matrix: Tensor = coupling_matrix(a, x, f, g, s.order, s.hard.dtype == torch.float32)
        return matrix
