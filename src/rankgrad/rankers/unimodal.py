"""What SoftSort and NeuralSort have in common: rows of their matrices have one peak."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from rankgrad.checks import check_positive
from rankgrad.rankers._unimodal import unimodal_average, unimodal_matrix, unimodal_ranks
from rankgrad.rankers.permutation import PermutationRanker

__all__ = ["UnimodalRanker"]


@dataclass(frozen=True)
class UnimodalRanker(PermutationRanker):
    """A ranker by a matrix whose rows are softmaxes around the diagonal, over sorted scores."""

    temperature: float = 1.0
    renormalize: bool = True

    _minds_nan_and_mask: ClassVar[bool] = True
    _kind: ClassVar[str]

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def _ranks(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        ranks: Tensor
        settings = self._kind, float(self.temperature), bool(self.renormalize)
        ranks, _, _ = unimodal_ranks(scores, mask, *settings)
        return ranks

    def _sorted(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n"]:
        out: Tensor
        out, _ = unimodal_average(scores, None, mask, self._kind, float(self.temperature))
        return out

    def _reordered(
        self,
        scores: Float[Tensor, "*batch n"],
        mask: Bool[Tensor, "*batch n"] | None,
        values: Float[Tensor, "*batch n"],
    ) -> Float[Tensor, "*batch n"]:
        out: Tensor
        out, _ = unimodal_average(scores, values, mask, self._kind, float(self.temperature))
        return out

    def _matrix(
        self, scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None
    ) -> Float[Tensor, "*batch n n"]:
        matrix: Tensor
        matrix, _ = unimodal_matrix(scores, mask, self._kind, float(self.temperature))
        return matrix
