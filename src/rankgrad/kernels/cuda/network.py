"""Differentiable sorting networks: all layers in one launch, or of very many wires one a launch."""

import torch
from torch import Tensor

from rankgrad.kernels.cuda.launch import scalar
from rankgrad.kernels.cuda.network_fused import fits, fused_back, fused_through
from rankgrad.kernels.cuda.network_layers import layered_back, layered_through
from rankgrad.kernels.cuda.swaps import Swaps

__all__ = ["network_apply", "network_gradient"]


def _plain(x: Tensor) -> Tensor:
    return x.detach().contiguous()


def _swaps(x: Tensor, kind: str, distribution: str, steepness: float, art: float) -> Swaps:
    return Swaps(kind, distribution, torch.cat([scalar(steepness, x), scalar(art, x)]))


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

    Memory beyond the result: as much again, nothing up to 256 wires. Transposed, the scores before
    ``2 sqrt(layers)`` layers, of at most 1024 rows and groups of channels at once up to 4096 wires.
    """
    if x.numel() == 0 or (v is not None and v.numel() == 0):
        return x.new_zeros((*x.shape, x.shape[1] if v is None else v.shape[2]))
    x, v = _plain(x), None if v is None else _plain(v)
    swaps = _swaps(x, kind, distribution, steepness, art)
    fused = fits(x.shape[1])
    if transposed:
        return (fused_back if fused else layered_back)(x, count.contiguous(), None, v, False, swaps)
    return (fused_through if fused else layered_through)(x, count.contiguous(), v, swaps)


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
    """Return the gradient of ``sum(w * (P v))`` for ``x``; see :func:`network_apply`.

    Memory: scores and channels before ``2 sqrt(layers)`` layers. Up to 4096 wires that is at most
    1024 times 4096 numbers a layer; of more wires so many rows and channels go at once that it
    stays below 2**27 numbers, if one does.
    """
    if w.numel() == 0:
        return torch.zeros_like(x)
    x, w, v = _plain(x), _plain(w), None if v is None else _plain(v)
    swaps = _swaps(x, kind, distribution, steepness, art)
    back = fused_back if fits(x.shape[1]) else layered_back
    return back(x, count.contiguous(), v, w, True, swaps)
