"""How well two orders agree: Spearman's rho, Kendall's tau-b, the share of pairs in order."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rankgrad.checks import check_beside, compute_dtype
from rankgrad.metrics._pairs import pair_counts
from rankgrad.metrics._rows import reduce_rows, wide
from rankgrad.ranks import rank

__all__ = ["kendall", "pairwise_accuracy", "spearman"]


def spearman(
    scores: Float[Tensor, "*batch n"],
    targets: Shaped[Tensor, "*batch n"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return Spearman's rank correlation: Pearson's correlation of the ranks, ties averaged.

    Args:
        scores: predictions; every row of the last dimension is one ranking.
        targets: true values in the shape of ``scores``, floating or integer.
        mask: boolean, broadcastable to ``scores``, True = valid.
        reduction: "none" gives the value of each row; "mean" and "sum" are over the rows.

    Returns:
        float64 for float64 scores, else float32. A row in which the scores or the targets are all
        equal has no correlation: NaN, and left out of the mean. NaN inputs give NaN.

    Raises:
        TypeError: ``scores`` is not floating point, ``mask`` not boolean.
        ValueError: shapes or devices that do not fit, an unknown ``reduction``.

    Cost: two sorts, ``O(n log n)``. Equal to ``scipy.stats.spearmanr``.

    >>> spearman(torch.tensor([0.1, 0.4, 0.3]), torch.tensor([1, 2, 3]))
    tensor(0.5000)
    """
    mask = check_beside("targets", targets, "scores", scores, mask)
    x = wide(rank(scores, ties="average", mask=mask))
    y = wide(rank(wide(targets), ties="average", mask=mask))
    rho = _correlation(x, y, mask)
    defined = _varies(x, mask) & _varies(y, mask)
    return reduce_rows(rho, defined, reduction, compute_dtype(scores), torch.nan)


def _correlation(x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
    a, b = _centred(x, mask), _centred(y, mask)
    scale = a.square().sum(dim=-1).sqrt() * b.square().sum(dim=-1).sqrt()
    return ((a * b).sum(dim=-1) / scale).clamp(-1, 1)


def _centred(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x - x.sum(dim=-1, keepdim=True) / max(x.shape[-1], 1)
    mean = x.sum(dim=-1, keepdim=True) / mask.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(mask, x - mean, 0.0)


def _varies(ranks: Tensor, mask: Tensor | None) -> Tensor:
    """Return by row whether there are two different ranks, or NaN."""
    if ranks.shape[-1] == 0:
        return torch.zeros(ranks.shape[:-1], dtype=torch.bool, device=ranks.device)
    low = ranks if mask is None else torch.where(mask, ranks, torch.inf)
    return ~(low.amin(dim=-1) >= ranks.amax(dim=-1))


def kendall(
    scores: Float[Tensor, "*batch n"],
    targets: Shaped[Tensor, "*batch n"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    r"""Return Kendall's tau-b.

    With C pairs in the same order, D in opposite orders, and X and Y pairs tied only in the one or
    only in the other,

    .. math:: \tau_b = \frac{C - D}{\sqrt{(C + D + X)(C + D + Y)}}

    Arguments, result and errors as in :func:`spearman`.

    Cost: ``O(n log n)`` time and ``O(n)`` memory; no pair is looked at. Equal to
    ``scipy.stats.kendalltau``.

    >>> kendall(torch.tensor([0.1, 0.4, 0.3]), torch.tensor([1, 2, 3]))
    tensor(0.3333)
    """
    mask = check_beside("targets", targets, "scores", scores, mask)
    pairs = pair_counts(scores, wide(targets), mask)
    untied = pairs.concordant + pairs.discordant
    in_x, in_y = untied + pairs.tied_in_y, untied + pairs.tied_in_x
    tau = (pairs.concordant - pairs.discordant) / (in_x.sqrt() * in_y.sqrt())
    defined = ~((in_x <= 0) | (in_y <= 0))
    return reduce_rows(tau.clamp(-1, 1), defined, reduction, compute_dtype(scores), torch.nan)


def pairwise_accuracy(
    scores: Float[Tensor, "*batch n"],
    targets: Shaped[Tensor, "*batch n"],
    *,
    mask: Bool[Tensor, "*mask"] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*rows"]:
    """Return the share of the pairs with different targets that the scores put in order.

    Equal scores count one half. Also known as the concordance index, and with targets of two
    values as the area under the ROC curve; ``2 * pairwise_accuracy - 1`` is Somers' D of the
    scores given the targets (``scipy.stats.somersd(targets, scores)``).

    Arguments, result and errors as in :func:`spearman`. A row without two different targets is
    NaN, and left out of the mean.

    Cost: ``O(n log n)`` time and ``O(n)`` memory.

    >>> pairwise_accuracy(torch.tensor([0.1, 0.4, 0.3]), torch.tensor([1, 2, 3]))
    tensor(0.6667)
    """
    mask = check_beside("targets", targets, "scores", scores, mask)
    pairs = pair_counts(scores, wide(targets), mask)
    total = pairs.concordant + pairs.discordant + pairs.tied_in_x
    share = (pairs.concordant + 0.5 * pairs.tied_in_x) / total
    return reduce_rows(share, ~(total <= 0), reduction, compute_dtype(scores), torch.nan)
