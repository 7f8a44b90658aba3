"""Rank-N-Contrast's rows by PyTorch: prefix sums of exponentials over what is farther by label."""

import torch
from torch import Tensor

from rankgrad.kernels.reference.ranksim import ranksim_pull

__all__ = ["contrast_rows", "contrast_vjp", "distances"]


def distances(points: Tensor) -> Tensor:
    """Return the Euclidean distances of the rows of ``points`` [n, d]; small ones are exact too."""
    # The matrix-product form loses the small ones to cancellation.
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def contrast_rows(
    distance: Tensor,
    labels: Tensor,
    valid: Tensor,
    temperature: float,
    want_slope: bool,
    anchors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of each anchor and its derivative for its row of ``distance`` [n, n].

    With ``s = -distance / temperature``, ``log sum_k exp(s_ik) - s_ij`` is averaged over the
    valid samples ``j != i``, where ``k`` runs over those at least as far from ``i`` as ``j``, in
    ``labels`` [n, L]. Anchors and partners that are not ``valid`` [n] give zeros. The derivative
    is empty unless wanted. ``anchors`` names the rows to do; by default all.
    """
    n = distance.shape[0]
    if n == 0:
        return distance.new_zeros(0), distance.new_zeros(0, 0 if want_slope else n)
    rows = torch.arange(n, device=distance.device) if anchors is None else anchors
    is_self = rows[:, None] == torch.arange(n, device=distance.device)
    is_pair = valid[rows, None] & valid & ~is_self
    apart = torch.cdist(labels[rows], labels, p=1.0)

    s = distance[rows] / -temperature
    # Only differences within a row count: relative to its nearest pair the numbers are small.
    nearest = torch.where(is_pair, s, -torch.inf).amax(dim=-1, keepdim=True)
    s = s - torch.where(nearest.isneginf(), 0.0, nearest)
    # Farthest label first, so that the partners of a pair are a prefix of its row. What is no
    # pair goes behind all of them and enters no prefix that is read.
    key, order = torch.where(is_pair, -apart, torch.inf).sort(dim=-1)
    s, is_pair = s.gather(-1, order), is_pair.gather(-1, order)
    # Pairs of equal label distance share the prefix that ends behind the last of them.
    last = torch.searchsorted(key, key, right=True).clamp(min=1) - 1
    prefix = s.logcumsumexp(dim=-1).gather(-1, last)
    count = is_pair.sum(dim=-1).clamp(min=1)
    broken = key.isnan().any(dim=-1)
    loss = torch.where(is_pair, prefix - s, 0.0).sum(dim=-1) / count
    loss = torch.where(broken, torch.nan, loss)
    if not want_slope:
        return loss, distance.new_empty(0)
    #   d loss / d s_k = sum_{j : d_j <= d_k} exp(s_k - log-sum-exp of the prefix of j) - 1
    inverse = torch.where(is_pair, -prefix, -torch.inf)
    suffix = inverse.flip(-1).logcumsumexp(dim=-1).flip(-1)
    slope = torch.exp(s + suffix.gather(-1, torch.searchsorted(key, key))) - 1
    slope = slope / (-temperature * count.unsqueeze(-1))
    slope = torch.where(is_pair, torch.where(broken[:, None], torch.nan, slope), 0.0)
    return loss, torch.empty_like(slope).scatter_(-1, order, slope)


def contrast_vjp(grad: Tensor, slope: Tensor, distance: Tensor, points: Tensor) -> Tensor:
    """Return the gradient for ``points`` by that of the anchors; coinciding points pull nowhere."""
    pull = ranksim_pull(slope, grad)
    if points.dtype == torch.float64:
        vjp: Tensor = torch.ops.aten._cdist_backward(pull, points, points, 2.0, distance)
        return vjp
    # On a GPU that would write down the difference of every pair, n n d numbers. In float64 their
    # sum may be taken apart: what cancels leaves more digits than float32 has.
    weight = torch.where(distance == 0, 0.0, pull / distance).double()
    x = points.double()
    return (weight.sum(1, keepdim=True) * x - weight @ x).to(points.dtype)
