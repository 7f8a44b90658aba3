"""Smooth-AP and soft recall at k, pair by pair, in plain PyTorch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rankgrad.kernels.reference.tiles import tiles

__all__ = ["soft_retrieval", "soft_retrieval_backward"]


def soft_retrieval(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    """Return one value a row of ``scores`` [rows, n]: soft average precision, or soft recall.

    ``codes`` says what an item is: 0 left out, 1 not relevant, 2 relevant. With logistic ranks
    ``r_i`` of relevant items, and ``p_i`` among the relevant alone, the value is the mean of
    ``p_i / r_i``; or, with cut-offs ``ks``, the mean over them of the sum of
    ``logistic((k - r_i) / width)``, divided by ``k`` or the number of relevant items, whichever
    is smaller. No ``k`` is larger than the list. Rows without a relevant item are zero.
    """
    out = torch.zeros_like(scores[:, 0]) if scores.shape[1] else scores.sum(dim=1)
    relevant, items = _counts(codes)
    for row, _, ranks, among, _ in _tiles(scores, codes, temperature):
        value, _, _ = _criterion(ranks, among, relevant[row], items[row], ks, widths)
        out.index_add_(0, row, value)
    return out


def soft_retrieval_backward(
    grad: Tensor,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    """Return the gradient for the scores."""
    out = torch.zeros_like(scores)
    relevant, items = _counts(codes)
    for row, column, ranks, among, ahead in _tiles(scores, codes, temperature):
        _, by_rank, by_among = _criterion(ranks, among, relevant[row], items[row], ks, widths)
        slope = ahead * (1 - ahead) / temperature
        weight = by_rank[:, None] + by_among[:, None] * (codes[row] == 2)
        slope = slope * weight * grad[row, None]
        out.index_add_(0, row, slope)
        out.index_put_((row, column), -slope.sum(dim=1), accumulate=True)
    return out


def _tiles(
    scores: Tensor, codes: Tensor, temperature: float
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Yield relevant items: row, column, rank, rank among the relevant, and what is ahead."""
    rows, columns = (codes == 2).nonzero(as_tuple=True)
    for part in tiles(rows.numel(), scores.shape[1]):
        row, column = rows[part], columns[part]
        keys, query = scores[row], scores[row, column, None]
        # The difference of equal infinities is a tie.
        ahead = torch.sigmoid(torch.where(keys == query, 0.0, keys - query) / temperature)
        ahead = torch.where(codes[row] == 0, 0.0, ahead)
        among = torch.where(codes[row] == 2, ahead, 0.0)
        # The item itself counts one half in its sum, and shall count one.
        yield row, column, ahead.sum(dim=1) + 0.5, among.sum(dim=1) + 0.5, ahead


def _counts(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of relevant items, and of all that are not left out, by row."""
    return (codes == 2).sum(dim=1), (codes != 0).sum(dim=1)


def _criterion(
    ranks: Tensor,
    among: Tensor,
    relevant: Tensor,
    items: Tensor,
    ks: list[int],
    widths: list[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each relevant item adds, and its derivatives by its two ranks."""
    if not ks:
        value = among / ranks / relevant
        return value, -value / ranks, 1 / (ranks * relevant)
    value, slope = torch.zeros_like(ranks), torch.zeros_like(ranks)
    relevant = relevant.to(ranks.dtype)
    for k, width in zip(ks, widths, strict=True):
        cut = items.clamp(max=k).to(ranks.dtype)
        hit = torch.sigmoid((cut - ranks) / width)
        scale = 1.0 / (len(ks) * torch.minimum(relevant, cut))
        value = value + scale * hit
        slope = slope - scale * hit * (1 - hit) / width
    return value, slope, torch.zeros_like(slope)
