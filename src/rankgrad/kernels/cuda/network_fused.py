"""Sorting networks of which one program holds all wires: every layer in one launch.

A program takes a row and a few channels and keeps them in registers. Of few wires each warp holds
all, and they meet by shuffles; more of them meet in memory of the program's own, which stays in
the cache, with a barrier in between.

Going back through the layers needs what was on the wires before each of them: the program runs the
network again, in stretches of about the square root of its depth, and remembers the entrances of
the stretches and the layers of one of them.
"""

import math

import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch
from rankgrad.kernels.cuda.swaps import Swaps, depth, partner, swap

__all__ = ["fits", "fused_back", "fused_through"]

_MOST = 4096  # wires to a program
_SHUFFLED = 256  # wires up to which they meet in registers: shuffles grow with the square
_ELEMENTS = 4096  # wires times channels to a program
_CHANNELS = 32  # at most so many to a program: each computes the shares again
_PROGRAMS = 1024  # that go back at once, each with memory of its own


if hasattr(tl, "gather"):  # from 3.3 on

    @triton.jit
    def _gather(x, other):
        return tl.gather(x, other, 0)

else:

    @triton.jit
    def _gather(x, other):
        """Stand in for what is never called: compiling looks up every name there is."""
        return x


@triton.jit
def _across(x, i, other, spot):
    """Return what is on the wires [n] ``other``; ``spot`` is memory to meet in, or None."""
    if spot is None:
        found = _gather(x, other)
    else:
        tl.store(spot + i, x)
        tl.debug_barrier()
        found = tl.load(spot + other)
        tl.debug_barrier()
    return found


@triton.jit
def _beyond(v, i, other, spot, WIRES: tl.constexpr, WIDTH: tl.constexpr):
    """Return what is on the wires [n, c] ``other``."""
    if spot is None:
        found = _gather(v, tl.broadcast_to(other[:, None], (WIRES, WIDTH)))
    else:
        c = tl.arange(0, WIDTH)[None, :]
        tl.store(spot + i[:, None] * WIDTH + c, v)
        tl.debug_barrier()
        found = tl.load(spot + other[:, None] * WIDTH + c)
        tl.debug_barrier()
    return found


@triton.jit
def _swap_in(x, i, count, layer, spot, rates, KIND: tl.constexpr, DISTRIBUTION: tl.constexpr):
    """Return with whom each wire is compared and what is there, whether it is lower, and shares."""
    other, lower = partner(i, count, layer, KIND)
    there = _across(x, i, other, spot)
    share, slope = swap(x, there, other == i, lower, rates, DISTRIBUTION)
    return other, there, lower, share, slope


@triton.jit
def _mix(v, beyond, share):
    return share[:, None] * v + (1.0 - share)[:, None] * beyond


@triton.jit
def _channels(v, i, c, live, base, channels, like):
    """Return wires ``i`` of a row; without ``v``, of the identity."""
    if v is None:
        found = ((i[:, None] == c[None, :]) & live).to(like.dtype)
    else:
        found = tl.load(v + (base + i)[:, None] * channels + c[None, :], mask=live, other=0.0)
    return found


@triton.jit(do_not_specialize=["n", "channels", "blocks"])
def _through(
    x, counts, v, out, meeting, rates, n, channels, blocks,
    KIND: tl.constexpr, DISTRIBUTION: tl.constexpr, WIRES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Send channels through the network; write them with the largest wire first."""
    program = tl.program_id(0).to(tl.int64)
    spot = meeting + program * (WIRES * WIDTH) if meeting is not None else None
    row = program // blocks
    i = tl.arange(0, WIRES)
    c = (program - row * blocks).to(tl.int32) * WIDTH + tl.arange(0, WIDTH)
    count = tl.load(counts + row).to(tl.int32)
    inside = i < count
    scores = tl.load(x + row * n + i, mask=inside, other=0.0)
    live = inside[:, None] & (c < channels)[None, :]
    state = _channels(v, i, c, live, row * n, channels, scores)
    for layer in range(depth(count, KIND)):
        other, there, _, share, _ = _swap_in(
            scores, i, count, layer, spot, rates, KIND, DISTRIBUTION
        )
        scores = share * scores + (1.0 - share) * there
        state = _mix(state, _beyond(state, i, other, spot, WIRES, WIDTH), share)
    to = row * n + tl.where(inside, count - 1 - i, i)
    state = tl.where(inside[:, None], state, 0.0)
    held = (i < n)[:, None] & (c < channels)[None, :]
    tl.store(out + to[:, None] * channels + c[None, :], state, mask=held)


@triton.jit(do_not_specialize=["n", "channels", "blocks", "all", "stretch", "slots"])
def _back(
    x, counts, v, w, out, grad, seen, seen_channels, meeting, rates,
    n, channels, blocks, all, stretch, slots,
    KIND: tl.constexpr, DISTRIBUTION: tl.constexpr, WIRES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Bring ``w``, largest first, back through the network, to ``out`` or to a gradient.

    Without ``grad``, ``P' w`` is written to ``out``. With it, the gradient of ``sum(w * (P v))``
    for the scores, by block of channels.
    """
    program = tl.program_id(0).to(tl.int64)
    spot = meeting + program * (WIRES * WIDTH) if meeting is not None else None
    i = tl.arange(0, WIRES)
    mine = seen + program * slots * WIRES + i
    each = tl.arange(0, WIDTH)
    square = i[:, None] * WIDTH + each[None, :]
    area = WIRES * WIDTH
    theirs = seen_channels + program * slots * area + square if grad is not None else 0
    for item in range(program, all, tl.num_programs(0)):
        row = item // blocks
        c = (item - row * blocks).to(tl.int32) * WIDTH + each
        count = tl.load(counts + row).to(tl.int32)
        inside = i < count
        live = inside[:, None] & (c < channels)[None, :]
        scores = tl.load(x + row * n + i, mask=inside, other=0.0)
        back = _channels(w, count - 1 - i, c, live, row * n, channels, scores)
        if grad is not None:
            ahead = _channels(v, i, c, live, row * n, channels, scores)
            pulled = tl.zeros_like(scores)
        layers = depth(count, KIND)
        entrances = slots - stretch
        parts = (layers + stretch - 1) // stretch
        for part in range(parts):  # leave the entrances of all stretches
            tl.store(mine + part * WIRES, scores)
            if grad is not None:
                tl.store(theirs + part * area, ahead)
            onward = tl.where(part + 1 < parts, stretch, 0)  # nobody asks what the last one does
            for layer in range(part * stretch, part * stretch + onward):
                other, there, _, share, _ = _swap_in(
                    scores, i, count, layer, spot, rates, KIND, DISTRIBUTION
                )
                scores = share * scores + (1.0 - share) * there
                if grad is not None:
                    ahead = _mix(ahead, _beyond(ahead, i, other, spot, WIRES, WIDTH), share)
        tl.debug_barrier()
        for turn in range(parts):
            part = parts - 1 - turn
            first = part * stretch
            last = tl.minimum(first + stretch, layers)
            scores = tl.load(mine + part * WIRES)
            if grad is not None:
                ahead = tl.load(theirs + part * area)
            for layer in range(first, last):
                slot = entrances + layer - first
                tl.store(mine + slot * WIRES, scores)
                other, there, _, share, _ = _swap_in(
                    scores, i, count, layer, spot, rates, KIND, DISTRIBUTION
                )
                scores = share * scores + (1.0 - share) * there
                if grad is not None:
                    tl.store(theirs + slot * area, ahead)
                    ahead = _mix(ahead, _beyond(ahead, i, other, spot, WIRES, WIDTH), share)
            tl.debug_barrier()
            for ago in range(last - first):
                layer = last - 1 - ago
                slot = entrances + layer - first
                scores = tl.load(mine + slot * WIRES)
                other, there, lower, share, slope = _swap_in(
                    scores, i, count, layer, spot, rates, KIND, DISTRIBUTION
                )
                behind = _beyond(back, i, other, spot, WIRES, WIDTH)
                if grad is not None:
                    ahead = tl.load(theirs + slot * area)
                    gap = ahead - _beyond(ahead, i, other, spot, WIRES, WIDTH)
                    pull = tl.sum(gap * (back - behind), axis=1)
                    moved = _across(pulled, i, other, spot)
                    pull += (scores - there) * (pulled - moved)
                    pull = tl.where(lower, -slope, slope) * pull
                    pulled = share * pulled + (1.0 - share) * moved + pull
                back = _mix(back, behind, share)
            tl.debug_barrier()
        if grad is not None:
            tl.store(grad + item * n + i, tl.where(inside, pulled, 0.0), mask=i < n)
        else:
            to = (row * n + i)[:, None] * channels + c[None, :]
            back = tl.where(inside[:, None], back, 0.0)
            tl.store(out + to, back, mask=(i < n)[:, None] & (c < channels)[None, :])


def fits(n: int) -> bool:
    """Return whether one program can hold ``n`` wires."""
    return n <= _MOST


def _meeting(x: Tensor, programs: int, wires: int, width: int) -> Tensor | None:
    """Return memory for wires to meet in, or None where they meet in registers."""
    if wires <= _SHUFFLED and hasattr(tl, "gather"):
        return None
    return x.new_empty((programs, wires, width))


def _shape(n: int, channels: int, elements: int) -> tuple[int, int, dict[str, int]]:
    """Return how many blocks of channels there are, how many channels to each, and constants."""
    wires = triton.next_power_of_2(n)
    width = min(triton.next_power_of_2(channels), _CHANNELS, max(1, elements // wires))
    warps = min(max(wires * width // 256, 4), 16)
    # One stage: a load must not come before the store and the barrier that it waits for.
    sizes = {"WIRES": wires, "WIDTH": width, "num_warps": warps, "num_stages": 1}
    return ceil_div(channels, width), width, sizes


def fused_through(x: Tensor, count: Tensor, v: Tensor | None, swaps: Swaps) -> Tensor:
    """Return ``P v`` for ``v`` [rows, n, c]; ``P`` without it."""
    rows, n = x.shape
    channels = n if v is None else v.shape[2]
    blocks, width, sizes = _shape(n, channels, _ELEMENTS)
    out = x.new_empty((rows, n, channels))
    meeting = _meeting(x, rows * blocks, sizes["WIRES"], width)
    launch(
        _through, rows * blocks, x, count, v, out, meeting, swaps.rates, n, channels, blocks,
        **swaps.constants, **sizes,
    )  # fmt: skip
    return out


def fused_back(
    x: Tensor, count: Tensor, v: Tensor | None, w: Tensor | None, gradient: bool, swaps: Swaps
) -> Tensor:
    """Return ``P' w``, or the gradient of ``sum(w * (P v))`` for ``x``."""
    rows, n = x.shape
    channels = n if w is None else w.shape[2]
    blocks, width, sizes = _shape(n, channels, _ELEMENTS // 2)
    programs = min(rows * blocks, _PROGRAMS)
    stretch = max(1, math.isqrt(swaps.depth(n)))
    slots = ceil_div(swaps.depth(n), stretch) + stretch
    seen = x.new_empty((programs, slots, sizes["WIRES"]))
    out, grad, channels_seen = None, None, None
    if gradient:
        grad = x.new_empty((rows, blocks, n))
        channels_seen = x.new_empty((*seen.shape, width))
    else:
        out = x.new_empty((rows, n, channels))
    meeting = _meeting(x, programs, sizes["WIRES"], width)
    launch(
        _back, programs, x, count, v, w, out, grad, seen, channels_seen, meeting, swaps.rates,
        n, channels, blocks, rows * blocks, stretch, slots, **swaps.constants, **sizes,
    )  # fmt: skip
    if grad is None:
        assert out is not None
        return out
    return grad.sum(1)
