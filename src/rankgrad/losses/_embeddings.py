"""From embeddings and labels to a score matrix that says which items are relevant."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rankgrad.checks import check_floating, check_same_device, compute_dtype
from rankgrad.distributed import Group, all_gather, first_of, members
from rankgrad.losses._reduce import full_precision
from rankgrad.losses._rows import check_real
from rankgrad.losses._soft_retrieval import LEFT_OUT, NOT_RELEVANT, RELEVANT
from rankgrad.losses.memory import CrossBatchMemory

__all__ = ["check_memory", "is_score_matrix", "similarities"]


def is_score_matrix(embeddings: Tensor, labels: Tensor) -> bool:
    """Return whether the two are scores and relevance: tensors of one shape."""
    check_floating("embeddings", embeddings)
    check_real("labels", labels)
    return labels.shape == embeddings.shape


def check_memory(memory: CrossBatchMemory | None) -> CrossBatchMemory | None:
    """Return the memory; raise ``TypeError`` if it is something else."""
    if memory is not None and not isinstance(memory, CrossBatchMemory):
        raise TypeError(f"memory must be a CrossBatchMemory, got {type(memory).__name__}")
    return memory


def similarities(
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
    same = None if gallery is not x else x
    if normalize:
        x = F.normalize(x, dim=-1)
        gallery = x if same is not None else F.normalize(gallery, dim=-1)
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
