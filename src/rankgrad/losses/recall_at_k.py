"""The soft recall at k of Patel et al."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import check_count, check_positive, check_reduction, result_dtype
from rankgrad.distributed import Group
from rankgrad.losses._embeddings import RetrievalLoss
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._soft_retrieval import (
    LEFT_OUT,
    NOT_RELEVANT,
    RELEVANT,
    coded,
    soft_retrieval,
)
from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.metrics.of_ranks import recall_of_hits
from rankgrad.rankers import RankerLike, as_ranker

__all__ = ["RecallAtKLoss", "recall_at_k_loss"]

_K = (1, 2, 4, 8)


def recall_at_k_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    k: int | Sequence[int] = _K,
    *,
    temperature: float = 0.01,
    k_temperature: float | Sequence[float] = 1.0,
    ranker: RankerLike | None = None,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return one minus a soft recall at ``k`` of each row, mean over the ``k``.

    With ``P`` the relevant items of a row, ``G`` the logistic function and the soft ranks
    ``r_i = 1 + sum over j != i of G((s_j - s_i) / temperature)``:

    .. math::
        1 - \frac{1}{K} \sum_k \frac{1}{\min(k, |P|)} \sum_{i \in P} G((k - r_i) / \tau_k)

    No ``k`` counts for more than the number of items in the row. A row at its best is above zero
    still, since an item at rank ``k`` counts one half.

    Args:
        scores: every row of the last dimension is the list of one query.
        relevance: in the shape of ``scores``, boolean or number; above zero = relevant.
        k: one or several cut-offs.
        temperature: the score difference within which two items are softly ahead of each other.
        k_temperature: how many ranks wide the cut-off is, one number or one for each ``k``.
        ranker: what makes the ranks instead of the logistic function; ``temperature`` is not used
            then. See :func:`rankgrad.rankers.as_ranker`.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the rows: "mean", "sum" or "none". A row without a relevant item has loss
            0 and is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A row with a NaN score and a relevant item is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean, ``k`` not integer.
        ValueError: a shape, device or setting does not fit.

    Cost: that of :func:`smooth_ap_loss`, whatever the number of cut-offs.

    Source: Patel, Tolias, Matas: Recall@k Surrogate Loss with Large Batches and Similarity Mixup.
    CVPR 2022.

    >>> scores = torch.tensor([0.9, 0.8, 0.7])
    >>> recall_at_k_loss(scores, torch.tensor([0, 1, 0]), k=1)
    tensor(0.7311)
    >>> recall_at_k_loss(scores, torch.tensor([1, 0, 0]), k=1)
    tensor(0.5000)
    """
    ks, widths = _cut_offs(k, k_temperature)
    x, codes = coded(scores, relevance, mask)
    return _loss(x, codes, ks, widths, temperature, ranker, reduction, group).to(
        result_dtype(scores)
    )


def _cut_offs(
    k: int | Sequence[int], k_temperature: float | Sequence[float]
) -> tuple[list[int], list[float]]:
    """Return the cut-offs and a width for each."""
    ks = [check_count("k", one) for one in (k if isinstance(k, Sequence) else [k])]
    if not ks:
        raise ValueError(f"k must hold at least one cut-off, got {k}")
    wide = isinstance(k_temperature, Sequence)
    widths = list(k_temperature) if isinstance(k_temperature, Sequence) else [k_temperature]
    if wide and len(widths) != len(ks):
        raise ValueError(
            f"k_temperature must be one number or {len(ks)}, one for each k, got {len(widths)}"
        )
    widths = [check_positive("k_temperature", width) for width in widths]
    return ks, widths if wide else widths * len(ks)


def _loss(
    scores: Tensor,
    codes: Tensor,
    ks: list[int],
    widths: list[float],
    temperature: float,
    ranker: RankerLike | None,
    reduction: str,
    group: Group,
) -> Tensor:
    check_reduction(reduction)
    temperature = check_positive("temperature", temperature)
    relevant = codes == RELEVANT
    if ranker is None:
        value: Tensor = soft_retrieval(scores, codes, temperature, ks, widths)
    else:
        present = codes != LEFT_OUT
        ranks = as_ranker(ranker)(scores, present)
        items = present.sum(dim=-1, keepdim=True)
        value = torch.zeros_like(ranks.sum(dim=-1))
        for k, width in zip(ks, widths, strict=True):
            hits = torch.sigmoid((items.clamp(max=k) - ranks) / width)
            value = value + recall_of_hits(hits, relevant, k, "capped") / len(ks)
    return reduce(1 - value, reduction, relevant.any(dim=-1), group=group)


class RecallAtKLoss(RetrievalLoss):
    """Soft recall at k of embeddings and labels, or of scores; see :func:`recall_at_k_loss`.

    ``loss(embeddings, labels)`` ranks, for each sample, the other samples of the batch by their
    similarity to it; those with the same label are relevant. ``loss(scores, relevance)``, two
    tensors of one shape, takes the scores as they are. The call is that of
    pytorch-metric-learning: ``loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)``.

    Args:
        k: one or several cut-offs.
        temperature: the similarity difference within which items are softly ahead of each other.
        k_temperature: how many ranks wide the cut-off is, one number or one for each ``k``.
        normalize: whether the similarity is the cosine, else the dot product.
        include_self: whether a sample is an item of its own list, not relevant, as in the
            published code: it takes the first place, so that every rank is one too high.
        ranker: what makes the ranks instead of the logistic function.
        memory: a :class:`~rankgrad.losses.CrossBatchMemory` whose contents join the gallery. In
            training each batch is put into it afterwards; in evaluation it is not used.
        reduction: "mean", "sum" or "none", over the queries that have a relevant item.
        group: the workers whose embeddings make up the gallery together, and over whose queries
            the loss is reduced; see :mod:`rankgrad.distributed`.

    >>> embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.6], [0.0, 1.0]])
    >>> RecallAtKLoss(k=(1, 2), include_self=False)(embeddings, torch.tensor([0, 1, 0, 1]))
    tensor(0.6630)
    """

    def __init__(
        self,
        k: int | Sequence[int] = _K,
        temperature: float = 0.01,
        k_temperature: float | Sequence[float] = 1.0,
        *,
        normalize: bool = True,
        include_self: bool = True,
        ranker: RankerLike | None = None,
        memory: CrossBatchMemory | None = None,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__(
            temperature, normalize, include_self, NOT_RELEVANT, ranker, memory, reduction, group
        )
        ks, widths = _cut_offs(k, k_temperature)
        self.k, self.k_temperature = tuple(ks), tuple(widths)

    def _of_lists(self, scores: Tensor, codes: Tensor) -> Tensor:
        ks, widths = list(self.k), list(self.k_temperature)
        return _loss(
            scores, codes, ks, widths, self.temperature, self.ranker, self.reduction, self.group
        )

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(
            self, "k", "temperature", "k_temperature", "normalize", "include_self", "ranker",
            "reduction",
        )  # fmt: skip
