"""The passes of the detection losses over all logits, by the engine's running sums."""

from itertools import pairwise as runs

import torch
from torch import Tensor

from rankgrad.comparisons import Ramp, Step
from rankgrad.kernels.reference.pairwise import pairwise, pairwise_order

__all__ = ["find_positives", "negatives_ahead", "spread_to_negatives"]


def find_positives(targets: Tensor, exact_one: bool) -> tuple[Tensor, bool]:
    """Return the places of the positives in ``targets`` [n], and whether a target is NaN."""
    positive = targets == 1 if exact_one else targets > 0
    return positive.nonzero().squeeze(1), bool(targets.isnan().any())


def _between(
    queries: Tensor, keys: Tensor, weights: Tensor | None, delta: float, mirrored: bool
) -> Tensor:
    """Return ``sum_j w_j H(k_j - q_i)``, or mirrored; a tie counts whole if ``delta`` is 0."""
    key_order = pairwise_order(keys[None], None)
    comparison = Ramp(delta) if delta > 0 else Step(tie=1.0)
    value, _ = pairwise(
        queries[None].double(),
        keys[None].double(),
        None if weights is None else weights[None],
        None,
        None,
        key_order,  # of the queries it needs none
        key_order,
        comparison,
        mirrored,
        True,
        False,
    )
    assert value is not None
    return value[0]


def negatives_ahead(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
) -> Tensor:
    """Return, for every positive, ``sum_j H(x_j - s_i)`` over the negatives of its segment."""
    out = torch.empty_like(scores)
    edges = starts.tolist()
    for g, (a, b) in enumerate(runs(edges)):
        negative = targets == 0 if groups is None else (targets == 0) & (groups == g)
        out[a:b] = _between(scores[a:b], logits[negative], None, delta, False)
    return out


def spread_to_negatives(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
    coef: Tensor,
) -> Tensor:
    """Return, for every negative, ``sum_i coef_i H(x_j - s_i)`` over positives; 0 elsewhere."""
    out = torch.zeros_like(logits)
    edges = starts.tolist()
    for g, (a, b) in enumerate(runs(edges)):
        negative = targets == 0 if groups is None else (targets == 0) & (groups == g)
        spread = _between(logits[negative], scores[a:b], coef[a:b], delta, True)
        out[negative] = spread.to(out.dtype)
    return out
