"""The sums among positives behind Rank & Sort loss, in nearly linear time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rankgrad.comparisons import Ramp, Step
from rankgrad.kernels.cpu.dominance import dominance
from rankgrad.kernels.cpu.pairwise import pairwise, pairwise_order
from rankgrad.kernels.reference.rank_sort import errors_of_sums, segment_of_each, shares

__all__ = ["rank_sort_errors", "rank_sort_pulls"]


def rank_sort_errors(
    scores: Tensor, quality: Tensor, ahead: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return errors and facts as :func:`rankgrad.kernels.reference.rank_sort_errors` does.

    ``O(p log p)`` time and ``O(p)`` memory.
    """
    segment = _segments(scores, starts)
    loss = 1 - quality
    among, among_loss = (_sums(scores, w, segment, delta) for w in (None, loss))
    better, better_loss = _sums_over_better(
        scores, quality, (torch.ones_like(loss), loss), segment, starts, delta,
        strictly=False, behind=False,
    )  # fmt: skip
    return errors_of_sums(among, among_loss, better, better_loss, among - better, ahead)


def rank_sort_pulls(
    scores: Tensor, quality: Tensor, facts: Tensor, cotangents: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return pulls and pushes as :func:`rankgrad.kernels.reference.rank_sort_pulls` does."""
    mass, share = shares(facts, cotangents)
    segment = _segments(scores, starts)
    (taken,) = _sums_over_better(
        scores, quality, [share], segment, starts, delta, strictly=True, behind=True
    )
    return torch.stack([cotangents[0] * facts[0] + (mass - taken), cotangents[0] * facts[1]])


def _segments(scores: Tensor, starts: Tensor) -> Tensor | None:
    """Return the segment of every positive; None if there is one segment."""
    return None if starts.shape[0] == 2 else segment_of_each(scores, starts)


def _sums(scores: Tensor, weights: Tensor | None, segment: Tensor | None, delta: float) -> Tensor:
    """Return ``sum_j w_j H(s_j - s_i)`` over the segment of ``i``."""
    order = torch.arange(scores.shape[0])[None]  # sorted as they are
    ids = None if segment is None else segment[None]
    value, _ = pairwise(
        scores[None],
        scores[None],
        None if weights is None else weights[None],
        ids,
        ids,
        order,
        order,
        Ramp(delta) if delta > 0 else Step(tie=1.0),
        mirrored=False,
        want_value=True,
        want_slope=False,
    )
    assert value is not None
    return value[0]


def _sums_over_better(
    scores: Tensor,
    quality: Tensor,
    weights: Sequence[Tensor],
    segment: Tensor | None,
    starts: Tensor,
    delta: float,
    *,
    strictly: bool,
    behind: bool,
) -> Tensor:
    """Return ``sum_j w_j H(s_j - s_i)`` over the better ``j`` of the segment, for all weights.

    Behind, of ``H(s_i - s_j)``. Better: of higher target, or unless ``strictly`` of the same.
    """
    order = pairwise_order(-quality[None], None if segment is None else segment[None])[0]
    ids = None if segment is None else segment[order]
    ends = _ends_of_better(quality[order], ids, strictly)
    ordered = _finite(scores[order], delta)
    if behind:
        ordered.neg_()
    found = dominance(ordered, torch.stack([w[order] for w in weights]), ends, starts, delta)
    return torch.empty_like(found).index_copy_(1, order, found)


def _ends_of_better(quality: Tensor, segment: Tensor | None, strictly: bool) -> Tensor:
    """Return where the better ones end for each positive, in descending order of quality."""
    opens = torch.ones(quality.shape, dtype=torch.bool)
    opens[1:] = quality[1:] != quality[:-1]
    if segment is not None:
        opens[1:] |= segment.diff() != 0
    place = torch.arange(opens.numel())
    if strictly:
        return torch.where(opens, place, 0).cummax(0).values
    ends = torch.where(opens, place, opens.numel()).roll(-1)
    ends[-1:] = opens.numel()
    return ends.flip(0).cummin(0).values.flip(0)


def _finite(scores: Tensor, delta: float) -> Tensor:
    """Replace infinite scores by finite ones that compare the same with every other score."""
    finite = scores.isfinite()
    if scores.numel() == 0:
        return scores
    largest = torch.where(finite, scores.abs(), 0.0).amax() * (1 + 1e-9) + 1e9 + 2 * delta
    return torch.where(finite | scores.isnan(), scores, largest * scores.sign())
