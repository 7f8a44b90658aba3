"""The passes of the detection losses over all logits, by the engine's running sums."""

from itertools import pairwise as runs

import torch
from torch import Tensor

from rankgrad.comparisons import Ramp, Step
from rankgrad.kernels.reference.pairwise import pairwise, pairwise_order

__all__ = ["find_at_most", "find_positives", "negatives_ahead", "spread_to_negatives"]


def find_positives(targets: Tensor, exact_one: bool) -> tuple[Tensor, bool]:
    """Return the places of the positives in ``targets`` [n], and whether a target is NaN."""
    positive = targets == 1 if exact_one else targets > 0
    return positive.nonzero().squeeze(1), bool(targets.isnan().any())


def find_at_most(targets: Tensor, exact_one: bool, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the positives, how many there are, and whether a target is NaN.

    Of the places there are ``most``, -1 behind the last positive. The host waits for nothing.
    """
    positive = targets == 1 if exact_one else targets > 0
    number = positive.cumsum(0)
    places = torch.full((most + 1,), -1, device=targets.device)
    to = torch.where(positive & (number <= most), number - 1, most)  # the last place is thrown away
    places[to] = torch.arange(targets.shape[0], device=targets.device)
    return places[:most].clone(), positive.sum(), targets.isnan().any()


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
    """Return, for every positive, ``sum_j H(x_j - s_i)`` over the negatives of its segment.

    Without ``groups`` all logits are of segment 0, and the host waits for nothing.
    """
    if groups is None:
        negative = targets == 0
        keys = torch.where(negative, logits, 0.0)
        ahead = _between(scores, keys, negative.double(), delta, False)
        return torch.where(_of_first(scores, starts), ahead, 0.0)
    out = torch.zeros_like(scores)
    for g, (a, b) in enumerate(runs(starts.tolist())):
        if a < b:
            negatives = logits[(targets == 0) & (groups == g)]
            out[a:b] = _between(scores[a:b], negatives, None, delta, False)
    return out


def _of_first(scores: Tensor, starts: Tensor) -> Tensor:
    """Return which positives are of segment 0."""
    return torch.arange(scores.shape[0], device=scores.device) < starts[1]


def spread_to_negatives(
    logits: Tensor,
    targets: Tensor,
    groups: Tensor | None,
    scores: Tensor,
    starts: Tensor,
    delta: float,
    coef: Tensor,
) -> Tensor:
    """Return, for every negative, ``sum_i coef_i H(x_j - s_i)`` over positives; 0 elsewhere.

    Waits as :func:`negatives_ahead`.
    """
    if groups is None:
        negative = (targets == 0) & (starts[1] > 0)
        queries = torch.where(negative, logits, 0.0)
        first = _of_first(scores, starts)
        keys, weights = torch.where(first, scores, 0.0), torch.where(first, coef, 0.0)
        spread = _between(queries, keys, weights, delta, True)
        return torch.where(negative, spread, 0.0).to(logits.dtype)
    out = torch.zeros_like(logits)
    for g, (a, b) in enumerate(runs(starts.tolist())):
        if a < b:
            negative = (targets == 0) & (groups == g)
            spread = _between(logits[negative], scores[a:b], coef[a:b], delta, True)
            out[negative] = spread.to(out.dtype)
    return out
