"""Soft top-k indicators in plain PyTorch."""

import math

import torch
from torch import Tensor

__all__ = ["soft_topk", "soft_topk_vjp"]


def _decaying_sums(keep: Tensor) -> Tensor:
    """Return ``s_j = 1 + keep_j s_{j - 1}`` in log n steps; ``keep_0`` is zero."""
    total, step = torch.ones_like(keep), 1
    while step < keep.shape[-1]:
        before = torch.nn.functional.pad(total[..., :-step], (step, 0))
        total = total + keep * before
        keep = keep * torch.nn.functional.pad(keep[..., :-step], (step, 0))
        step *= 2
    return total


def _threshold(y: Tensor, m: Tensor, k: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ``t`` with ``sum_i H((y_i - t) / scale) = k`` over the first ``m`` elements.

    ``y`` falls in each row; the rest are columns. Between two neighbours the sum is a constant
    and two exponentials of ``t``: a quadratic equation, solved by its logarithm. The result is
    one of the scores and a shift in units of ``scale``.
    """
    place = torch.arange(y.shape[-1], device=y.device)
    inside = place < m
    keep = torch.zeros_like(y)
    keep[..., 1:] = torch.exp((y[..., 1:] - y[..., :-1]) / scale)
    keep = torch.where(inside, keep, 0.0)
    # the sums of exp(-|y_i - y_j| / scale) over the i <= j and over the i >= j
    ahead = _decaying_sums(keep)
    behind = _decaying_sums(keep.roll(-1, -1).flip(-1)).flip(-1)
    total = place + 0.5 * (1 - ahead + behind)
    count = ((total <= k) & inside).long().cumprod(-1).sum(-1, keepdim=True)

    def at(x: Tensor, i: Tensor) -> Tensor:
        return x.gather(-1, i.clamp(min=0).minimum((m - 1).clamp(min=0)))

    above, below = count - 1, count
    a, b = at(ahead, above).log(), at(behind, below).log()
    gap = 0.5 * (at(y, above) - at(y, below)) / scale
    excess = count - k
    size = excess.abs().log() + gap - 0.5 * (a + b)
    angle = torch.where(excess == 0, 0.0, excess.sign() * size.clamp(max=20).exp().asinh())
    shift = 0.5 * (b - a) + angle - gap
    # asinh(exp(size)) is size + log 2 where one neighbour is out of sight
    alone = (size > 20) & (excess != 0)
    lone = excess.abs().log() + math.log(2)
    shift = torch.where(alone, torch.where(excess > 0, lone - a, b - lone), shift)
    shift = torch.where(count == 0, b - torch.log(2 * k), shift)
    shift = torch.where(count == m, torch.log(2 * (m - k)) - a, shift)
    from_below = (count == 0) | (alone & (excess < 0))
    return torch.where(from_below, at(y, below), at(y, above)), shift


def soft_topk(
    x: Tensor, mask: Tensor | None, k: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor]:
    """Return the indicators of each row of ``x`` [rows, n] and the thresholds [rows, 2].

    ``k`` and ``scale`` are float64 [rows]; with ``log`` the indicators' logarithms. A threshold is
    a score and a shift from it in units of ``scale``; infinite where all or none are in.
    """
    y = x.double()
    k, scale = k[:, None], scale[:, None]
    valid = torch.ones_like(y, dtype=torch.bool) if mask is None else mask
    finite = valid & y.isfinite()
    m = finite.sum(-1, keepdim=True)
    highest = (valid & y.isposinf()).sum(-1, keepdim=True)
    lowest = (valid & y.isneginf()).sum(-1, keepdim=True)
    broken = (valid & y.isnan()).any(-1, keepdim=True) | k.isnan() | scale.isnan()

    falling = torch.where(finite, y, -torch.inf).sort(-1, descending=True).values
    falling = torch.where(falling.isinf(), 0.0, falling)
    rest = k - highest
    origin, shift = _threshold(falling, m, rest, scale)
    shift = torch.where(rest >= m, -torch.inf, shift)
    shift = torch.where((rest <= 0) | (m == 0), torch.inf, shift)
    shift = torch.where(broken, torch.nan, shift)

    z = (y - origin) / scale - shift
    tail = 0.5 * torch.exp(-z.abs())
    share = torch.where(y > 0, k / highest.clamp(min=1), (rest - m) / lowest.clamp(min=1))
    share = share.clamp(0, 1)
    if log:
        p = torch.where(z > 0, torch.log1p(-tail), z - math.log(2))
        p = torch.where(finite, p, share.log())
    else:
        p = torch.where(finite, torch.where(z > 0, 1 - tail, tail), share)
    p = torch.where(broken, torch.nan, p)
    p = torch.where(valid, p, -torch.inf if log else 0.0)
    return p.to(x.dtype), torch.cat([origin, shift], -1)


def soft_topk_vjp(
    grad: Tensor, x: Tensor, mask: Tensor | None, threshold: Tensor, scale: Tensor, log: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the scores, of ``k`` and of ``scale``."""
    origin, shift, s = threshold[:, :1], threshold[:, 1:], scale[:, None]
    used = x.isfinite() & shift.isfinite()
    if mask is not None:
        used &= mask
    g = torch.where(used, grad.double(), 0.0)
    z = torch.where(used, (x.double() - origin) / s - shift, 0.0)
    distance = torch.where(used, z.abs(), torch.inf)
    closest = distance.amin(-1, keepdim=True)
    closest = torch.where(closest.isinf(), 0.0, closest)
    near = torch.exp(closest - distance)
    mass = near.sum(-1, keepdim=True).clamp(min=1)
    near = near / mass
    mean = (near * z).sum(-1, keepdim=True)
    tail = 0.5 * torch.exp(-distance)
    if log:
        tail = torch.where(z > 0, tail / (1 - tail), used.double())
        whole = (g * tail).sum(-1, keepdim=True)
        out = (tail * g - near * whole) / s
        grad_k = torch.where(whole == 0, 0.0, whole * 2 * closest.exp() / mass)
    else:
        grad_k = whole = (g * near).sum(-1, keepdim=True)
        out = tail * (g - whole) / s
    steep = (g * tail * (mean - z)).sum(-1) / scale
    out = torch.where(used, out, 0.0).to(x.dtype)
    return out, torch.where(used.any(-1), grad_k.squeeze(-1), 0.0), steep
