"""NDCG of softly sorted gains."""

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_count, check_reduction, result_dtype
from rankgrad.distributed import Group
from rankgrad.losses._lists import lists
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._scaled_product import scaled_product
from rankgrad.metrics.gains import ideal_dcg, place_discounts
from rankgrad.metrics.of_ranks import (
    check_cut_off,
    check_gain,
    gain_of,
    ndcg_of_discounts,
)
from rankgrad.rankers import Ranker, as_ranker
from rankgrad.rankers.neuralsort import NeuralSort
from rankgrad.rankers.permutation import PermutationRanker

__all__ = ["NeuralNDCGLoss", "neural_ndcg_loss"]

_DEFAULT = NeuralSort()
_STEPS = 50


def neural_ndcg_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    ranker: PermutationRanker | str = _DEFAULT,
    scaling_steps: int = _STEPS,
    k: int | None = None,
    gain: str = "exponential",
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*lists"]:
    r"""Return one minus the NDCG of the gains in the soft order of the scores.

    With ``P`` the relaxed permutation matrix of the scores (row = place, column = item), scaled
    to columns and rows that sum to 1:

    .. math:: 1 - \frac{1}{\mathrm{ideal}} \sum_p \frac{(P\, G(y))_p}{\log_2(1 + p)}

    Args:
        scores: every row of the last dimension is one list.
        relevance: graded relevance in the shape of ``scores``, not negative; boolean or number.
        ranker: a ranker with a permutation matrix: "neuralsort" as in the paper, "softsort",
            "sinkhorn", "odd_even", "bitonic", or one with settings.
        scaling_steps: how often columns and rows are scaled in turn, at most 50 times in the
            paper. 0 leaves the matrix as it is, and does not build it; right for matrices that
            are doubly stochastic already (Sinkhorn, sorting networks).
        k: only the first ``k`` places count; None for all.
        gain: "exponential", ``G(y) = 2^y - 1``, or "linear", ``G(y) = y``.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the lists: "mean", "sum" or "none". A list without relevance has loss 0
            and is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A list with a NaN is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean, or ``ranker`` has no
            permutation matrix.
        ValueError: a shape, device or setting does not fit, or relevance is negative (NaN
            instead on other devices than the CPU and in compiled code).

    Cost: for each list ``O(scaling_steps n^2)`` time and ``O(n^2 + scaling_steps n)`` memory;
    without scaling that of ``ranker.reorder``.

    Source: Pobrotyn, Białobrzeski: NeuralNDCG: Direct Optimisation of a Ranking Metric via
    Differentiable Relaxation of Sorting. 2021. The published code stops scaling when the sums are
    within 1e-6 of 1.

    >>> import torch
    >>> scores = torch.tensor([0.9, 0.8, 0.1])
    >>> neural_ndcg_loss(scores, torch.tensor([0, 2, 1]), ranker=NeuralSort(temperature=0.1))
    tensor(0.2591)
    """
    check_reduction(reduction)
    check_gain(gain)
    check_cut_off(k)
    ranker = _with_matrix(ranker)
    scaling_steps = check_count("scaling_steps", scaling_steps, least=0)
    given = lists(scores, relevance, mask)
    gains = gain_of(given.grades, gain)  # zero where masked
    ideal = ideal_dcg(gains, k)
    if scaling_steps:
        matrix = ranker.permutation(given.scores, given.mask)
        in_order, _ = scaled_product(matrix, gains, scaling_steps)
    else:
        in_order = ranker.reorder(given.scores, gains, given.mask)
    value = ndcg_of_discounts(place_discounts(gains, k).expand_as(gains), in_order, ideal)
    return reduce(1 - value, reduction, ~(ideal <= 0), group=group).to(result_dtype(scores))


def _with_matrix(ranker: Ranker | str) -> PermutationRanker:
    found = as_ranker(ranker)
    if not isinstance(found, PermutationRanker):
        raise TypeError(
            f"ranker must have a permutation matrix, such as NeuralSort(0.1), got {found!r}"
        )
    return found


class NeuralNDCGLoss(nn.Module):
    """One minus the NDCG of softly sorted gains; see :func:`neural_ndcg_loss`.

    Args:
        ranker: a ranker with a permutation matrix; "neuralsort" by default.
        scaling_steps: how often columns and rows are scaled in turn.
        k: only the first ``k`` places count; None for all.
        gain: "exponential" or "linear".
        reduction: "mean", "sum" or "none", over the lists.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    >>> import torch
    >>> loss = NeuralNDCGLoss(ranker="softsort", scaling_steps=0)
    >>> loss(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0, 2, 1]))
    tensor(0.2007)
    """

    ranker: PermutationRanker

    def __init__(
        self,
        ranker: PermutationRanker | str = _DEFAULT,
        scaling_steps: int = _STEPS,
        k: int | None = None,
        gain: str = "exponential",
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_gain(gain)
        check_cut_off(k)
        self.ranker = _with_matrix(ranker)
        self.scaling_steps = check_count("scaling_steps", scaling_steps, least=0)
        self.k, self.gain, self.reduction = k, gain, reduction
        self.group = group

    def forward(
        self,
        scores: Float[Tensor, "*batch n"],
        relevance: Shaped[Tensor, "*batch n"],
        mask: Bool[Tensor, "*mask"] | None = None,
    ) -> Float[Tensor, "*lists"]:
        """Return the loss of these lists."""
        return neural_ndcg_loss(
            scores,
            relevance,
            ranker=self.ranker,
            scaling_steps=self.scaling_steps,
            k=self.k,
            gain=self.gain,
            mask=mask,
            reduction=self.reduction,
            group=self.group,
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "ranker", "scaling_steps", "k", "gain", "reduction")
