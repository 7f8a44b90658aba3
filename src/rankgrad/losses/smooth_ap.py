"""Smooth-AP: average precision with logistic ranks."""

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import check_positive, check_reduction, result_dtype
from rankgrad.distributed import Group
from rankgrad.losses._embeddings import RetrievalLoss
from rankgrad.losses._module import settings
from rankgrad.losses._reduce import reduce
from rankgrad.losses._soft_retrieval import LEFT_OUT, RELEVANT, coded, soft_retrieval
from rankgrad.losses.memory import CrossBatchMemory
from rankgrad.metrics.of_ranks import average_precision_of_ranks
from rankgrad.rankers import RankerLike, as_ranker

__all__ = ["SmoothAPLoss", "smooth_ap_loss"]


def smooth_ap_loss(
    scores: Float[Tensor, "*batch n"],
    relevance: Shaped[Tensor, "*batch n"],
    *,
    temperature: float = 0.01,
    ranker: RankerLike | None = None,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
    group: Group = None,
) -> Float[Tensor, "*rows"]:
    r"""Return one minus a soft average precision of each row.

    With ``P`` the relevant items of a row and ``G`` the logistic function:

    .. math::
        1 - \frac{1}{|P|} \sum_{i \in P}
            \frac{1 + \sum_{j \in P, j \ne i} G((s_j - s_i) / \tau)}
                 {1 + \sum_{j \ne i} G((s_j - s_i) / \tau)}

    that is (soft rank among the relevant) / (soft rank among all). With ``ranker="hard"`` it is
    one minus :func:`rankgrad.metrics.average_precision`, up to ties.

    Args:
        scores: every row of the last dimension is the list of one query.
        relevance: in the shape of ``scores``, boolean or number; above zero = relevant.
        temperature: the score difference within which two items are softly ahead of each other.
        ranker: what makes both ranks instead of the logistic function; ``temperature`` is not
            used then. See :func:`rankgrad.rankers.as_ranker`.
        mask: boolean, broadcastable to ``scores``, True = valid; the same as leaving the others
            out.
        reduction: over the rows: "mean", "sum" or "none". A row without a relevant item has loss
            0 and is left out of the mean.
        group: the workers over whose rows the loss is reduced, see
            :mod:`rankgrad.distributed`. Each row is ranked by itself.

    Returns:
        The loss in the dtype of ``scores``. A row with a NaN score and a relevant item is NaN.

    Raises:
        TypeError: ``scores`` is not floating point, or ``mask`` not boolean.
        ValueError: a shape, device or setting does not fit.

    Cost: ``O(relevant items x n)`` time for each row. Memory: a byte for each score, and backward
    the gradient; on a GPU also a list of the relevant items that has room for all, and backward
    two numbers for each of its places.

    Source: Brown, Xie, Kalogeiton, Zisserman: Smooth-AP: Smoothing the Path Towards Large-Scale
    Image Retrieval. ECCV 2020.

    >>> import torch
    >>> scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]])
    >>> relevance = torch.tensor([[1, 0, 1], [0, 0, 1]])
    >>> smooth_ap_loss(scores, relevance, reduction="none")
    tensor([1.6668e-01, 4.5419e-05])
    """
    x, codes = coded(scores, relevance, mask)
    return _loss(x, codes, temperature, ranker, reduction, group).to(result_dtype(scores))


def _loss(
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ranker: RankerLike | None,
    reduction: str,
    group: Group,
) -> Tensor:
    check_reduction(reduction)
    temperature = check_positive("temperature", temperature)
    relevant = codes == RELEVANT
    if ranker is None:
        value: Tensor = soft_retrieval(scores, codes, temperature, [], [])
    else:
        ranker = as_ranker(ranker)
        value = average_precision_of_ranks(
            ranker(scores, codes != LEFT_OUT), ranker(scores, relevant), relevant
        )
    return reduce(1 - value, reduction, relevant.any(dim=-1), group=group)


class SmoothAPLoss(RetrievalLoss):
    """Smooth-AP of embeddings and labels, or of scores and relevance; see :func:`smooth_ap_loss`.

    ``loss(embeddings, labels)`` ranks, for each sample, all samples of the batch by their
    similarity to it; those with the same label are relevant. ``loss(scores, relevance)``, two
    tensors of one shape, takes the scores as they are. The call is that of
    pytorch-metric-learning: ``loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)``.

    Args:
        temperature: the similarity difference within which items are softly ahead of each other.
        normalize: whether the similarity is the cosine (as in the paper), else the dot product
            (as in its code, which expects normalised embeddings).
        include_self: whether a sample is an item of its own list, relevant, as in the published
            code. Without it a sample that is alone with its label has loss 0 and does not count.
        ranker: what makes the ranks instead of the logistic function.
        memory: a :class:`~rankgrad.losses.CrossBatchMemory` whose contents join the gallery. In
            training each batch is put into it afterwards; in evaluation it is not used.
        reduction: "mean", "sum" or "none", over the queries.
        group: the workers whose embeddings make up the gallery together, and over whose queries
            the loss is reduced; see :mod:`rankgrad.distributed`.

    Cost: one score matrix, a byte for each score, and one matrix for the gradient; nothing cubic.

    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.6]])
    >>> SmoothAPLoss()(embeddings, torch.tensor([0, 1, 0]))
    tensor(0.2411)
    """

    def __init__(
        self,
        temperature: float = 0.01,
        *,
        normalize: bool = True,
        include_self: bool = True,
        ranker: RankerLike | None = None,
        memory: CrossBatchMemory | None = None,
        reduction: str = "mean",
        group: Group = None,
    ) -> None:
        super().__init__(
            temperature, normalize, include_self, RELEVANT, ranker, memory, reduction, group
        )

    def _of_lists(self, scores: Tensor, codes: Tensor) -> Tensor:
        return _loss(scores, codes, self.temperature, self.ranker, self.reduction, self.group)

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return settings(self, "temperature", "normalize", "include_self", "ranker", "reduction")
