"""Sorting networks of more wires than a program holds: a launch a layer, parallel over wires.

Every layer reads one state and writes the next. Going back needs the states before each layer: the
network runs again, in stretches of about the square root of its depth, of which the entrances are
kept and the layers of one. Channels, and then rows, go in groups so that this stays in bounds.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch
from rankgrad.kernels.cuda.swaps import Swaps, partner, swap

__all__ = ["layered_back", "layered_through"]

_TILE = 2048  # wires times channels looked at at once
_WIDTH = 16  # channels looked at at once
_KEPT = 1 << 27  # numbers that going back may keep at once


@triton.jit
def _met(
    program, x, counts, rates, layer, n, blocks,
    KIND: tl.constexpr, DISTRIBUTION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Return the wires of a program, whom each meets, what both hold, and share and slope."""
    row = program // blocks
    i = (program - row * blocks).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    held = i < n
    other, lower = partner(i, tl.load(counts + row).to(tl.int32), layer, KIND)
    base = row * n
    here = tl.load(x + base + i, mask=held, other=0.0)
    there = tl.load(x + base + other, mask=held, other=0.0)
    share, slope = swap(here, there, other == i, lower, rates, DISTRIBUTION)
    return i, other, lower, held, base, here, there, share, slope


@triton.jit(do_not_specialize=["layer", "n", "channels", "blocks"])
def _onward(
    x, counts, v, x_out, v_out, rates, layer, n, channels, blocks,
    KIND: tl.constexpr, DISTRIBUTION: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Send scores, and channels if there are any, through one layer."""
    i, other, _, held, base, here, there, share, _ = _met(
        tl.program_id(0).to(tl.int64), x, counts, rates, layer, n, blocks, KIND, DISTRIBUTION, BLOCK
    )
    tl.store(x_out + base + i, share * here + (1.0 - share) * there, mask=held)
    if v is not None:
        for start in range(0, channels, WIDTH):
            c = start + tl.arange(0, WIDTH)[None, :]
            live = held[:, None] & (c < channels)
            at = (base + i)[:, None] * channels + c
            a = tl.load(v + at, mask=live, other=0.0)
            b = tl.load(v + (base + other)[:, None] * channels + c, mask=live, other=0.0)
            tl.store(v_out + at, share[:, None] * a + (1.0 - share)[:, None] * b, mask=live)


@triton.jit(do_not_specialize=["layer", "n", "channels", "blocks"])
def _homeward(
    x, counts, v, back, pulled, back_out, pulled_out, rates, layer, n, channels, blocks,
    KIND: tl.constexpr, DISTRIBUTION: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Bring channels back through one layer, and with ``pulled`` the gradient of the scores."""
    i, other, lower, held, base, here, there, share, slope = _met(
        tl.program_id(0).to(tl.int64), x, counts, rates, layer, n, blocks, KIND, DISTRIBUTION, BLOCK
    )
    pull = tl.zeros_like(here)
    for start in range(0, channels, WIDTH):
        c = start + tl.arange(0, WIDTH)[None, :]
        live = held[:, None] & (c < channels)
        at = (base + i)[:, None] * channels + c
        beyond = (base + other)[:, None] * channels + c
        a = tl.load(back + at, mask=live, other=0.0)
        b = tl.load(back + beyond, mask=live, other=0.0)
        tl.store(back_out + at, share[:, None] * a + (1.0 - share)[:, None] * b, mask=live)
        if pulled is not None:
            gap = tl.load(v + at, mask=live, other=0.0)
            gap -= tl.load(v + beyond, mask=live, other=0.0)
            pull += tl.sum(gap * (a - b), axis=1)
    if pulled is not None:
        a = tl.load(pulled + base + i, mask=held, other=0.0)
        b = tl.load(pulled + base + other, mask=held, other=0.0)
        pull += (here - there) * (a - b)
        pull = tl.where(lower, -slope, slope) * pull
        tl.store(pulled_out + base + i, share * a + (1.0 - share) * b + pull, mask=held)


State = tuple[Tensor, Tensor | None]


class _Network:
    """One network over some rows."""

    def __init__(self, x: Tensor, count: Tensor, swaps: Swaps) -> None:
        place = torch.arange(x.shape[1], device=x.device)
        self.place, self.count, self.swaps = place, count, swaps
        self.inside = place < count[:, None]
        self.turned = torch.where(self.inside, count[:, None] - 1 - place, place)
        self.scores = torch.where(self.inside, x, 0.0)
        self.depth = swaps.depth(x.shape[1])

    def channels(self, v: Tensor | None, first: int, last: int) -> Tensor:
        """Return some channels of ``v``, or of the identity, that are zero past the count."""
        if v is None:
            unit = torch.arange(first, last, device=self.place.device)
            part = (self.place[:, None] == unit).to(self.scores.dtype)
        else:
            part = v[:, :, first:last]
        return torch.where(self.inside[..., None], part, 0.0)

    def turn(self, v: Tensor) -> Tensor:
        """Return the wires in the opposite order."""
        return v.gather(1, self.turned[..., None].expand(v.shape))

    def _launch(self, kernel: Any, channels: int, first: Tensor, *rest: Any) -> None:
        rows, n = self.scores.shape
        width = min(triton.next_power_of_2(max(channels, 1)), _WIDTH)
        tile = min(triton.next_power_of_2(n), _TILE // width)
        blocks = ceil_div(n, tile)
        launch(
            kernel, rows * blocks, first, *rest, n, channels, blocks,
            KIND=self.swaps.kind, DISTRIBUTION=self.swaps.distribution, BLOCK=tile, WIDTH=width,
        )  # fmt: skip

    def onward(self, state: State, layer: int) -> State:
        """Return what a layer makes of scores and channels."""
        x, v = state
        x_out, v_out = torch.empty_like(x), None if v is None else torch.empty_like(v)
        self._launch(
            _onward, 0 if v is None else v.shape[2],
            x, self.count, v, x_out, v_out, self.swaps.rates, layer,
        )  # fmt: skip
        return x_out, v_out

    def homeward(
        self, state: State, back: Tensor, pulled: Tensor | None, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``back`` and ``pulled`` before a layer from those after it."""
        x, v = state
        back_out = torch.empty_like(back)
        pulled_out = None if pulled is None else torch.empty_like(pulled)
        self._launch(
            _homeward, back.shape[2],
            x, self.count, v, back, pulled, back_out, pulled_out, self.swaps.rates, layer,
        )  # fmt: skip
        return back_out, pulled_out

    def back(
        self, ahead: Tensor | None, back: Tensor, pulled: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Bring ``back`` and ``pulled`` from the end of the network to its entrance."""
        stretch = max(1, math.isqrt(self.depth))
        state: State = self.scores, ahead
        entrances = [state]
        for layer in range((self.depth - 1) // stretch * stretch):
            state = self.onward(state, layer)
            if (layer + 1) % stretch == 0:
                entrances.append(state)
        for part in reversed(range(len(entrances))):
            first = part * stretch
            states = [entrances.pop()]
            for layer in range(first, min(first + stretch, self.depth) - 1):
                states.append(self.onward(states[-1], layer))
            for layer in reversed(range(first, min(first + stretch, self.depth))):
                back, pulled = self.homeward(states.pop(), back, pulled, layer)
        return back, pulled


def layered_through(x: Tensor, count: Tensor, v: Tensor | None, swaps: Swaps) -> Tensor:
    """Return ``P v`` for ``v`` [rows, n, c]; ``P`` without it."""
    net = _Network(x, count, swaps)
    state: State = net.scores, net.channels(v, 0, x.shape[1] if v is None else v.shape[2])
    for layer in range(net.depth):
        state = net.onward(state, layer)
    assert state[1] is not None
    return net.turn(state[1])


def layered_back(
    x: Tensor, count: Tensor, v: Tensor | None, w: Tensor | None, gradient: bool, swaps: Swaps
) -> Tensor:
    """Return ``P' w``, or the gradient of ``sum(w * (P v))`` for ``x``."""
    rows, n = x.shape
    channels = n if w is None else w.shape[2]
    states = 2 * (math.isqrt(swaps.depth(n)) + 1)
    many = max(1, min(rows, _KEPT // (states * n * 2)))
    width = max(1, min(channels, _KEPT // (states * n * many) - 1)) if gradient else channels
    found = []
    for r in range(0, rows, many):
        part = slice(r, r + many)
        net = _Network(x[part], count[part], swaps)
        grad = torch.zeros_like(net.scores)
        given_v, given_w = (None if t is None else t[part] for t in (v, w))
        for c in range(0, channels, width):
            end = min(c + width, channels)
            back = net.turn(net.channels(given_w, c, end))
            if not gradient:
                grad, _ = net.back(None, back, None)
                continue
            _, pulled = net.back(net.channels(given_v, c, end), back, torch.zeros_like(net.scores))
            assert pulled is not None
            grad += pulled
        found.append(torch.where(net.inside if gradient else net.inside[..., None], grad, 0.0))
    return torch.cat(found)
