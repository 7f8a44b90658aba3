"""RankSim's published functions.

``from ranksim import batchwise_ranking_regularizer`` becomes
``from rankgrad.compat.ranksim import batchwise_ranking_regularizer``. Values and gradients agree;
the loop over rows, with its copy of the similarity matrix in each backward step, is gone.

As published, the gradient at the ranks, and with it every weight on the loss, goes into the
perturbation of the ranker: the gradient that reaches the features hardly grows with the weight.
:class:`rankgrad.losses.RankSimLoss` keeps the two apart.

Where the original breaks: targets may be ``[n]``, labels of more than one column count by the sum
of their distances, an empty batch gives zero, and the result is always a tensor. One of the
samples of each label is drawn with torch's generator, not with Python's ``random``.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from rankgrad.checks import check_floating, check_positive, compute_dtype
from rankgrad.compat._argsort import torch_argsort
from rankgrad.losses._reduce import full_precision
from rankgrad.losses._rows import real
from rankgrad.losses.ranksim import by_label

__all__ = ["TrueRanker", "batchwise_ranking_regularizer", "rank", "rank_normalised"]


def rank(seq: Float[Tensor, "rows n"]) -> Int64[Tensor, "rows n"]:
    """Return the rank of each entry of each row, 0 = largest; of equal ones as torch sorts them.

    >>> rank(torch.tensor([[0.1, 0.7, 0.4]]))
    tensor([[2, 0, 1]])
    """
    if seq.dim() != 2:
        raise ValueError(f"seq must have the shape [rows, n], got {tuple(seq.shape)}")
    order = torch_argsort(seq.detach()).flip(1)
    place = torch.arange(seq.shape[1], device=seq.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)


def rank_normalised(seq: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """Return ``(rank + 1) / n``: 1 / n for the largest entry of each row, 1 for the smallest.

    >>> rank_normalised(torch.tensor([[0.1, 0.7, 0.4, 0.2]]))
    tensor([[1.0000, 0.2500, 0.5000, 0.7500]])
    """
    ranks = (rank(seq) + 1).to(torch.float64 if seq.dtype == torch.float64 else torch.float32)
    return ranks / max(seq.shape[1], 1)


class TrueRanker(torch.autograd.Function):
    """Normalised ranks with the blackbox gradient; ``TrueRanker.apply(sequence, lambda_val)``.

    Backward: ``-(rank(s) - rank(s + lambda g)) / (lambda + 1e-8)`` for the gradient ``g`` that
    arrives.

    >>> TrueRanker.apply(torch.tensor([[0.1, 0.7, 0.4, 0.2]]), 2.0)
    tensor([[1.0000, 0.2500, 0.5000, 0.7500]])
    """

    @staticmethod
    def forward(ctx: Any, sequence: Tensor, lambda_val: float) -> Tensor:
        """Return ``rank_normalised(sequence)``."""
        ranks = rank_normalised(sequence)
        ctx.lambda_val = lambda_val
        ctx.save_for_backward(sequence, ranks)
        return ranks

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        """Return the difference that one step against the loss makes."""
        sequence, ranks = ctx.saved_tensors
        moved = rank_normalised(sequence + ctx.lambda_val * grad_output)
        return ((moved - ranks) / (ctx.lambda_val + 1e-8)).to(sequence.dtype), None


def batchwise_ranking_regularizer(
    features: Float[Tensor, "n *d"], targets: Shaped[Tensor, "n *columns"], lambda_val: float
) -> Float[Tensor, ""]:
    """Return RankSim's regularizer: the sum over samples of the mean squared rank difference.

    Args:
        features: ``[n, *d]``, flattened per sample.
        targets: ``[n, 1]`` as the original wants them, or ``[n]``.
        lambda_val: the interpolation strength, at least 0.

    >>> targets = torch.tensor([[1.0], [2.0], [4.0]])
    >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 2.0]])
    >>> batchwise_ranking_regularizer(features, targets, 2.0)
    tensor(0.)
    """
    check_floating("features", features)
    lambda_val = check_positive("lambda_val", lambda_val, zero_allowed=True)
    n = features.shape[0]
    if targets.dim() == 0 or targets.shape[0] != n:
        raise ValueError(f"targets must have the shape [{n}, 1], got {tuple(targets.shape)}")
    x = features.reshape(n, features[:1].numel())
    y = real(targets.detach()).reshape(n, targets[:1].numel())
    order, opens = by_label(y, shuffle=True)
    picked = order[opens]
    if picked.shape[0] < n:  # else all stay as they came: their order decides between ties
        x, y = x[picked], y[picked]
    with full_precision(features.device):
        units = F.normalize(x.to(compute_dtype(x)), dim=1)
        similarity = units @ units.mT
    ranks: Tensor = TrueRanker.apply(similarity, lambda_val)
    wanted = rank_normalised(-torch.cdist(y, y, p=1.0)).to(ranks.dtype)
    return (ranks - wanted).square().sum() / max(y.shape[0], 1)
