"""The sums among positives behind Rank & Sort loss, pair by pair."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = [
    "EPS",
    "errors_of_sums",
    "prefix_sums",
    "rank_sort_errors",
    "rank_sort_pulls",
    "segment_of_each",
    "shares",
]

EPS = 1e-5  # a positive with fewer false positives than this has nothing to push, as published


def rank_sort_errors(
    scores: Tensor, quality: Tensor, ahead: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return, for every positive, its errors and what backward needs of them.

    With the ramp ``H`` of half width ``delta``, over the positives ``j`` of the segment of ``i``::

        among  = sum_j H(s_j - s_i)             better = the same over those with t_j >= t_i
        now    = sum_j H(s_j - s_i) (1 - t_j) / among       goal = the same over those / better

    Args:
        scores: [p] float64, ascending within each segment; infinities are only ever tied.
        quality: [p] float64, their targets ``t``.
        ahead: [p] float64, the false positives ahead of each.
        starts: [segments + 1] int64, where the segments start.
        delta: half width of the ramp; with 0 the step that counts ties whole.

    Returns:
        [5, p] float64: the ranking error ``ahead / (ahead + among)``, the sorting error
        ``now - goal``, how much the ranking pulls, how hard it pushes, and what is missorted: the
        sum over those with ``t_j < t_i``. A NaN among the scores makes its segment NaN.
    """
    loss = 1 - quality
    sums = scores.new_zeros(5, scores.shape[0])
    for part, h in _comparisons(scores, starts, delta):
        as_good = quality[None, :] >= quality[part, None]
        good, bad = h * as_good, h * ~as_good
        rows = (h.sum(-1), h @ loss, good.sum(-1), good @ loss, bad.sum(-1))
        sums[:, part] = torch.stack(rows)
    among, among_loss, better, better_loss, missorted = sums
    return errors_of_sums(among, among_loss, better, better_loss, missorted, ahead)


def errors_of_sums(
    among: Tensor,
    among_loss: Tensor,
    better: Tensor,
    better_loss: Tensor,
    missorted: Tensor,
    ahead: Tensor,
) -> Tensor:
    """Return what :func:`rank_sort_errors` does, from the sums."""
    rank = ahead + among
    ranking, sorting = ahead / rank, among_loss / among - better_loss / better
    gate = ~(ahead <= EPS)
    pull, push = torch.where(gate, ranking, 0.0), torch.where(gate, 1 / rank, 0.0)
    return torch.stack([ranking, sorting, pull, push, missorted])


def rank_sort_pulls(
    scores: Tensor, quality: Tensor, facts: Tensor, cotangents: Tensor, starts: Tensor, delta: float
) -> Tensor:
    """Return by how much each positive is pulled up, and how hard it pushes negatives down.

    A positive hands its sorting error to those of lower target that are ahead of it.

    Args:
        scores, quality, starts, delta: as in :func:`rank_sort_errors`.
        facts: [4, p] float64: pull, push, sorting error and what is missorted.
        cotangents: [2, p] float64, of the ranking and of the sorting error.

    Returns:
        [2, p] float64.
    """
    mass, share = shares(facts, cotangents)
    taken = torch.zeros_like(scores)
    for part, h in _comparisons(-scores, starts, delta):
        better = (quality[None, :] > quality[part, None]) & (h != 0)
        taken[part] = torch.where(better, h * share, 0.0).sum(-1)  # NaN reaches its partners only
    return torch.stack([cotangents[0] * facts[0] + (mass - taken), cotangents[0] * facts[1]])


def shares(facts: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mass that each positive hands down, and the part for a whole partner of it."""
    _, _, sorting, missorted = facts
    gate = ~(missorted <= EPS)
    mass = torch.where(gate, cotangents[1] * sorting, 0.0)
    return mass, torch.where(gate, mass / missorted, 0.0)


def _comparisons(scores: Tensor, starts: Tensor, delta: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield ``H(s_j - s_i)`` for some ``i`` at a time and all ``j``, 0 in other segments."""
    p = scores.shape[0]
    segment = segment_of_each(scores, starts)
    for part in tiles(p, p):
        x, mine = scores[None, :], scores[part, None]
        gap = torch.where(x == mine, 0.0, x - mine)
        h = (gap / (2 * delta) + 0.5).clamp(0, 1) if delta > 0 else (gap >= 0).to(gap.dtype)
        h = torch.where(gap.isnan(), gap, h)
        yield part, h.masked_fill(segment[None, :] != segment[part, None], 0.0)


def segment_of_each(scores: Tensor, starts: Tensor) -> Tensor:
    """Return the number of the segment of every positive, [p]."""
    ids = torch.arange(starts.shape[0] - 1, device=starts.device)
    return torch.repeat_interleave(ids, starts.diff(), output_size=scores.shape[0])


def prefix_sums(values: Tensor, starts: Tensor) -> Tensor:
    """Return the sum of ``values`` [p], float64, from the start of its segment to each of them."""
    total = torch.nn.functional.pad(values.cumsum(0), (1, 0))
    first = torch.repeat_interleave(starts[:-1], starts.diff(), output_size=values.shape[0])
    return total[1:] - total[first]
