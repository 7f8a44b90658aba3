"""The soft recall at k of Patel et al."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import (
    check_floating,
    check_mask,
    check_positive,
    check_same_device,
    check_same_shape,
    compute_dtype,
)
from rankgrad.distributed import Group
from rankgrad.losses._embeddings import check_memory, is_score_matrix, similarities
from rankgrad.losses._module import hold_ranker, settings
from rankgrad.losses._reduce import check_reduction, reduce
from rankgrad.losses._rows import check_real
from rankgrad.losses._soft_retrieval import (
    LEFT_OUT,
    NOT_RELEVANT,
    RELEVANT,
    item_codes,
    soft_retrieval,
)
from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.metrics.of_ranks import is_relevant, recall_of_hits
from rankgrad.rankers import Ranker, RankerLike, as_ranker

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
    check_floating("scores", scores)
    if scores.dim() == 0:
        raise ValueError("scores must have at least one dimension, got a scalar")
    check_real("relevance", relevance)
    check_same_shape("relevance", relevance, "scores", scores)
    check_same_device("relevance", relevance, "scores", scores)
    if mask is not None:
        check_mask("mask", mask, "scores", scores)
    ks, widths = _cut_offs(k, k_temperature)
    codes = item_codes(is_relevant(relevance), mask)
    x = scores.to(compute_dtype(scores))
    return _loss(x, codes, ks, widths, temperature, ranker, reduction, group).to(scores.dtype)


def _cut_offs(
    k: int | Sequence[int], k_temperature: float | Sequence[float]
) -> tuple[list[int], list[float]]:
    """Return the cut-offs and a width for each."""
    ks = list(k) if isinstance(k, Sequence) else [k]
    for one in ks:
        if isinstance(one, bool) or not isinstance(one, int):
            raise TypeError(f"k must be an int or a sequence of them, got {k!r}")
    if not ks or min(ks) < 1:
        raise ValueError(f"k must be >= 1, got {k}")
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


class RecallAtKLoss(nn.Module):
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

    ranker: Ranker | None

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
        super().__init__()
        check_reduction(reduction)
        ks, widths = _cut_offs(k, k_temperature)
        self.k, self.k_temperature = tuple(ks), tuple(widths)
        self.temperature = check_positive("temperature", temperature)
        self.normalize = normalize
        self.include_self = include_self
        self.ranker = None
        if ranker is not None:
            hold_ranker(self, ranker)
        self.memory = check_memory(memory)
        self.reduction = reduction
        self.group = group

    def forward(
        self,
        embeddings: Float[Tensor, "..."],
        labels: Shaped[Tensor, "..."],
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Shaped[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of a batch; arguments and errors as of :class:`SmoothAPLoss`."""
        if is_score_matrix(embeddings, labels):
            return recall_at_k_loss(
                embeddings,
                labels,
                self.k,
                temperature=self.temperature,
                k_temperature=self.k_temperature,
                ranker=self.ranker,
                reduction=self.reduction,
                group=self.group,
            )
        memory = self.memory if self.training else None
        scores, codes = similarities(
            embeddings,
            labels,
            indices_tuple,
            ref_emb,
            ref_labels,
            memory,
            normalize=self.normalize,
            self_code=NOT_RELEVANT if self.include_self else LEFT_OUT,
            group=self.group,
        )
        loss = _loss(
            scores,
            codes,
            list(self.k),
            list(self.k_temperature),
            self.temperature,
            self.ranker,
            self.reduction,
            self.group,
        )
        if memory is not None:
            memory.enqueue(embeddings, labels)
        return loss.to(embeddings.dtype)

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(
            self, "k", "temperature", "k_temperature", "normalize", "include_self", "ranker",
            "reduction",
        )  # fmt: skip
