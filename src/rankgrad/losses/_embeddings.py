"""From embeddings and labels to a score matrix that says which items are relevant."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rankgrad.checks import (
    check_floating,
    check_positive,
    check_real,
    check_reduction,
    check_same_device,
    compute_dtype,
    result_dtype,
)
from rankgrad.distributed import Group, all_gather, first_of, members
from rankgrad.losses._module import hold_ranker
from rankgrad.losses._reduce import full_precision
from rankgrad.losses._soft_retrieval import LEFT_OUT, NOT_RELEVANT, RELEVANT, coded
from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.rankers import Ranker, RankerLike

__all__ = ["RetrievalLoss"]


class RetrievalLoss(nn.Module):
    """A loss over the list of each query, from embeddings and labels or from scores.

    A subclass says in ``_of_lists`` what the loss of the lists is, and in ``self_code`` what a
    sample is in its own list.
    """

    ranker: Ranker | None

    def __init__(
        self,
        temperature: float,
        normalize: bool,
        include_self: bool,
        self_code: int,
        ranker: RankerLike | None,
        memory: CrossBatchMemory | None,
        reduction: str,
        group: Group,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if memory is not None and not isinstance(memory, CrossBatchMemory):
            raise TypeError(f"memory must be a CrossBatchMemory, got {type(memory).__name__}")
        self.temperature = check_positive("temperature", temperature)
        self.normalize = normalize
        self.include_self = include_self
        self._self_code = self_code if include_self else LEFT_OUT
        self.ranker = None
        if ranker is not None:
            hold_ranker(self, ranker)
        self.memory = memory
        self.reduction = reduction
        self.group = group

    @abstractmethod
    def _of_lists(self, scores: Tensor, codes: Tensor) -> Tensor:
        """Return the loss of the rows of float32 or float64 scores, reduced."""

    def forward(
        self,
        embeddings: Float[Tensor, "..."],
        labels: Shaped[Tensor, "..."],
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Shaped[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*rows"]:
        """Return the loss of a batch.

        Args:
            embeddings: ``[n, d]``; or scores, ``[*batch, items]``.
            labels: ``[n]``; or the relevance, in the shape of the scores.
            indices_tuple: mined triplets (anchor, positive, negative) or pairs (anchor, positive,
                anchor, negative): only these take part.
            ref_emb: ``[m, d]``, what to rank instead of the batch.
            ref_labels: ``[m]``, the labels of ``ref_emb``.

        Raises:
            TypeError: a dtype that is not taken.
            ValueError: shapes that do not fit.
        """
        check_floating("embeddings", embeddings)
        check_real("labels", labels)
        if labels.shape == embeddings.shape:  # scores and relevance
            loss = self._of_lists(*coded(embeddings, labels, None))
            return loss.to(result_dtype(embeddings))
        memory = self.memory if self.training else None
        scores, codes = _similarities(
            embeddings,
            labels,
            indices_tuple,
            ref_emb,
            ref_labels,
            memory,
            normalize=self.normalize,
            self_code=self._self_code,
            group=self.group,
        )
        loss = self._of_lists(scores, codes)
        if memory is not None:
            memory.enqueue(embeddings, labels)
        return loss.to(result_dtype(embeddings))


def _similarities(
    embeddings: Tensor,
    labels: Tensor,
    indices_tuple: tuple[Tensor, ...] | None,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    memory: CrossBatchMemory | None,
    *,
    normalize: bool,
    self_code: int,
    group: Group,
) -> tuple[Tensor, Tensor]:
    """Return the scores ``[batch, gallery]`` and the code of each item for each query.

    The gallery is ``ref_emb``, or the batch itself and what the memory holds; in the batch
    ``self_code`` is what a query is to itself. With a ``group`` the batch of the gallery is that
    of all workers; the queries are this worker's.
    """
    _check(embeddings, labels, "embeddings", "labels")
    x = embeddings.to(compute_dtype(embeddings))
    workers = members(group)
    if workers is not None and not (indices_tuple is None and memory is None and ref_emb is None):
        raise ValueError("group must be None with indices_tuple, ref_emb or a memory")
    filled, begin = None, 0
    if ref_emb is not None:
        if ref_labels is None:
            raise ValueError("ref_labels must be given with ref_emb")
        if memory is not None:
            raise ValueError("ref_emb must be None when the loss has a memory")
        _check(ref_emb, ref_labels, "ref_emb", "ref_labels")
        gallery, gallery_labels = ref_emb.to(x.dtype), ref_labels
    elif memory is not None:
        held, held_labels, filled = memory.contents()
        if held.shape[1] != x.shape[1]:
            raise ValueError(
                f"embeddings must have the {held.shape[1]} features of the memory, got {x.shape[1]}"
            )
        gallery = torch.cat([x, held.to(x.dtype)])
        gallery_labels = torch.cat([labels.to(held_labels.dtype), held_labels])
    elif workers is not None:
        gallery, begin = all_gather(x, workers), first_of(x, workers)
        gallery_labels = all_gather(labels, workers)
    else:
        gallery, gallery_labels = x, labels
    if gallery.shape[1] != x.shape[1]:
        raise ValueError(
            f"the gallery must have the {x.shape[1]} features of embeddings, got {gallery.shape[1]}"
        )
    if normalize:
        itself, x = gallery is x, F.normalize(x, dim=-1)
        gallery = x if itself else F.normalize(gallery, dim=-1)
    with full_precision(x.device):
        scores = x @ gallery.mT
    if indices_tuple is not None:
        return scores, _mined(indices_tuple, scores)
    codes = (labels[:, None] == gallery_labels[None, :]).to(torch.uint8)
    codes += NOT_RELEVANT
    if filled is not None:
        codes[:, x.shape[0] :] *= filled
    if ref_emb is None:
        own = codes if begin == 0 else codes[:, begin:]  # torch.compile refuses to fill a slice
        own.fill_diagonal_(self_code)
    return scores, codes


def _check(embeddings: Tensor, labels: Tensor, name: str, labels_name: str) -> None:
    check_floating(name, embeddings)
    check_real(labels_name, labels)
    if embeddings.dim() != 2:
        raise ValueError(f"{name} must have the shape [n, d], got {tuple(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"{labels_name} must have the shape [{embeddings.shape[0]}] "
            f"(or, for a score matrix, that of the scores), got {tuple(labels.shape)}"
        )
    check_same_device(labels_name, labels, name, embeddings)


def _mined(indices: tuple[Tensor, ...], scores: Tensor) -> Tensor:
    """Return codes under which only mined pairs take part.

    Triplets are (anchor, positive, negative); pairs (anchor, positive, anchor, negative).
    """
    if len(indices) == 3:
        anchor, positive, negative = indices
        other = anchor
    elif len(indices) == 4:
        anchor, positive, other, negative = indices
    else:
        raise ValueError(
            f"indices_tuple must hold 3 index tensors (triplets) or 4 (pairs), got {len(indices)}"
        )
    codes = torch.full(scores.shape, LEFT_OUT, dtype=torch.uint8, device=scores.device)
    codes[other, negative] = NOT_RELEVANT
    codes[anchor, positive] = RELEVANT
    return codes
