"""Differentiable sorting networks, in plain PyTorch, layer by layer."""

import math

import torch
from torch import Tensor

__all__ = ["comparators", "network_apply", "network_gradient"]


Layer = tuple[Tensor, Tensor]


def comparators(kind: str, n: int) -> list[Layer]:
    """Return the layers of a network over ``n`` wires: the wires of the minima, of the maxima.

    "odd_even" compares neighbours, in ``n`` layers. "bitonic" merges runs of 1, 2, 4, ... wires
    in ``log2(n) (log2(n) + 1) / 2`` layers; the second of two runs is taken backwards, so that
    every comparator points the same way and wires of -inf, put in front to fill up a power of
    two, stay where they are: the comparators that touch one can be left out. "alternating" is the
    textbook form of it, in which every other run is sorted downward. The two are one network as
    long as no wire is missing. With missing ones the second does not sort at every ``n``.
    """
    if kind == "odd_even":
        pairs = [torch.arange(layer % 2, n - 1, 2) for layer in range(n if n > 1 else 0)]
        return [(lower, lower + 1) for lower in pairs]
    levels = max(n - 1, 0).bit_length()
    layers = []
    for level in range(1, levels + 1):
        for step in range(level, 0, -1):
            low, high = _merge(level, step, 2**levels, kind == "alternating")
            low, high = low - (2**levels - n), high - (2**levels - n)
            present = (low >= 0) & (high >= 0)
            layers.append((low[present], high[present]))
    return layers


def _merge(level: int, step: int, n: int, alternating: bool) -> Layer:
    start = torch.arange(0, n, 2**step).unsqueeze(-1)
    inside = torch.arange(2 ** (step - 1))
    low = start + inside
    if step == level and not alternating:
        return low.flatten(), (start + 2**step - 1 - inside).flatten()
    low = low.flatten()
    high = low + 2 ** (step - 1)
    down = ((low >> level) & 1 == 1) & alternating
    return torch.where(down, high, low), torch.where(down, low, high)


def _swap(d: Tensor, distribution: str, steepness: float, art: float) -> tuple[Tensor, Tensor]:
    """Return the share of the lower wire that stays, by ``d = upper - lower``, and its slope."""
    v = steepness * d
    if distribution == "cauchy":
        return 0.5 + v.atan() / math.pi, steepness / (math.pi * (1 + v * v))
    if distribution == "logistic":
        return v.sigmoid(), steepness * v.sigmoid() * (-v).sigmoid()
    if distribution == "logistic_phi":
        size = d.abs() + 1e-10
        factor = steepness * size**-art
        share = (d * factor).sigmoid()
        inner = factor * (1 - art * d.abs() / size)
        return share, share * (-d * factor).sigmoid() * inner
    if distribution == "normal":
        share = 0.5 * torch.erfc(-v / math.sqrt(2))
        return share, steepness / math.sqrt(2 * math.pi) * torch.exp(-0.5 * v * v)
    if distribution == "reciprocal":
        return 0.5 * (v / (2 + v.abs()) + 1), steepness / (2 + v.abs()).square()
    size = v.abs().clamp(min=0.25)  # "optimal"
    tail = v.sign() * (0.5 - 1 / (16 * size))
    share = 0.5 + torch.where(v.abs() > 0.25, tail, v)
    return share, steepness / (16 * size * size)


class _Network:
    """One network over rows of as many wires, with what its layers did on the way."""

    def __init__(
        self, x: Tensor, kind: str, distribution: str, steepness: float, art: float
    ) -> None:
        self.layers = [
            (low.to(x.device), high.to(x.device)) for low, high in comparators(kind, x.shape[1])
        ]
        self.shares, self.slopes, self.gaps = [], [], []
        for low, high in self.layers:
            gap = x[:, low] - x[:, high]
            share, slope = _swap(-gap, distribution, steepness, art)
            self.shares.append(share)
            self.slopes.append(slope)
            self.gaps.append(gap)
            x = self.step(x.unsqueeze(-1), len(self.shares) - 1).squeeze(-1)

    def step(self, v: Tensor, layer: int) -> Tensor:
        low, high = self.layers[layer]
        share = self.shares[layer].unsqueeze(-1)
        a, b = v[:, low], v[:, high]
        v = v.clone()
        v[:, low] = share * a + (1 - share) * b
        v[:, high] = (1 - share) * a + share * b
        return v


def _groups(count: Tensor) -> list[tuple[int, Tensor]]:
    sizes = torch.unique(count).tolist()
    return [(int(m), (count == m).nonzero().squeeze(-1)) for m in sizes if m > 0]


def _channels(v: Tensor | None, x: Tensor, rows: Tensor, m: int) -> Tensor:
    if v is None:
        eye = torch.eye(m, x.shape[1], dtype=x.dtype, device=x.device)
        return eye.expand(rows.shape[0], m, x.shape[1])
    return v[rows, :m]


def network_apply(
    x: Tensor,
    count: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
    transposed: bool,
) -> Tensor:
    """Return ``P v``, or ``P' v``: [rows, n, c] -> [rows, n, c]; None stands for the identity.

    ``P`` is the relaxed permutation matrix, largest first, of the first ``count`` of the scores
    ``x`` [rows, n]; what is behind them is zero.
    """
    out = x.new_zeros((*x.shape, x.shape[1] if v is None else v.shape[2]))
    for m, rows in _groups(count):
        net = _Network(x[rows, :m], kind, distribution, steepness, art)
        w = _channels(v, x, rows, m)
        if transposed:
            w = w.flip(1)
            for layer in reversed(range(len(net.layers))):
                w = net.step(w, layer)
        else:
            for layer in range(len(net.layers)):
                w = net.step(w, layer)
            w = w.flip(1)
        out[rows, :m] = w
    return out


def network_gradient(
    x: Tensor,
    count: Tensor,
    w: Tensor,
    v: Tensor | None,
    kind: str,
    distribution: str,
    steepness: float,
    art: float,
) -> Tensor:
    """Return the gradient of ``sum(w * (P v))`` for ``x``; see :func:`network_apply`."""
    grad = torch.zeros_like(x)
    for m, rows in _groups(count):
        net = _Network(x[rows, :m], kind, distribution, steepness, art)
        ahead = [_channels(v, x, rows, m)]
        for layer in range(len(net.layers)):
            ahead.append(net.step(ahead[-1], layer))
        back = w[rows, :m].flip(1)
        h = torch.zeros_like(x[rows, :m])
        for layer in reversed(range(len(net.layers))):
            low, high = net.layers[layer]
            before = ahead[layer]
            share = ((before[:, low] - before[:, high]) * (back[:, low] - back[:, high])).sum(-1)
            share = share + net.gaps[layer] * (h[:, low] - h[:, high])
            pull = share * net.slopes[layer]
            back = net.step(back, layer)
            h = net.step(h.unsqueeze(-1), layer).squeeze(-1)
            h[:, low] -= pull
            h[:, high] += pull
        grad[rows, :m] = h
    return grad
