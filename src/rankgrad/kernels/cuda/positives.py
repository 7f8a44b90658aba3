"""Finding the positives of the detection losses: count by block, then write by block."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.launch import ceil_div, launch

__all__ = ["find_at_most", "find_positives"]

_BLOCK = 1024


@triton.jit
def _is_positive(t, EXACT_ONE: tl.constexpr):
    if EXACT_ONE:
        found = t == 1.0
    else:
        found = t > 0.0
    return found.to(tl.int32)


@triton.jit
def _tally(targets, facts, n, EXACT_ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Write how many positives a block has, and how many targets are NaN."""
    block = tl.program_id(0).to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(targets + i, mask=i < n, other=0.0)
    tl.store(facts + block, tl.sum(_is_positive(t, EXACT_ONE), axis=0).to(tl.int64))
    broken = tl.sum((t != t).to(tl.int32), axis=0).to(tl.int64)
    tl.store(facts + tl.num_programs(0) + block, broken)


@triton.jit(do_not_specialize=["room"])
def _collect(targets, facts, through, index, n, room, EXACT_ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Write the places of a block's positives; ``through`` says how many come before it."""
    block = tl.program_id(0).to(tl.int64)
    many = tl.load(facts + block)
    if many > 0:
        i = block * BLOCK + tl.arange(0, BLOCK)
        t = tl.load(targets + i, mask=i < n, other=0.0)
        found = _is_positive(t, EXACT_ONE)
        to = tl.load(through + block) + tl.cumsum(found, axis=0) - 1
        tl.store(index + to, i, mask=(found > 0) & (to < room))


def _tallied(targets: Tensor, exact_one: bool) -> tuple[Tensor, Tensor]:
    """Return positives and NaNs by block [2, blocks], and their running sums, with a 0 ahead."""
    n = targets.numel()
    facts = torch.empty((2, ceil_div(n, _BLOCK)), dtype=torch.int64, device=targets.device)
    launch(_tally, facts.shape[1], targets, facts, n, EXACT_ONE=exact_one, BLOCK=_BLOCK)
    return facts, torch.nn.functional.pad(facts.cumsum(-1), (1, 0))


def _collected(
    targets: Tensor, exact_one: bool, facts: Tensor, through: Tensor, index: Tensor
) -> Tensor:
    n, room = targets.numel(), index.numel()
    constants = {"EXACT_ONE": exact_one, "BLOCK": _BLOCK}
    launch(_collect, facts.shape[1], targets, facts, through, index, n, room, **constants)
    return index


def find_positives(targets: Tensor, exact_one: bool) -> tuple[Tensor, bool]:
    """Return the places of the positives in ``targets`` [n], and whether a target is NaN.

    Positive means 1 if ``exact_one``, else above 0. The host waits once: their number is the size
    of the result.
    """
    targets = targets.detach().contiguous()
    facts, through = _tallied(targets, exact_one)
    found, broken = through[:, -1].tolist()
    index = torch.empty(found, dtype=torch.int64, device=targets.device)
    return _collected(targets, exact_one, facts, through, index), broken > 0


def find_at_most(targets: Tensor, exact_one: bool, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the positives, how many there are, and whether a target is NaN.

    Of the places there are ``most``, -1 behind the last positive. Nothing here makes the host wait.
    """
    targets = targets.detach().contiguous()
    facts, through = _tallied(targets, exact_one)
    index = torch.full((most,), -1, device=targets.device)
    found, broken = through[:, -1].clone()
    return _collected(targets, exact_one, facts, through, index), found, broken > 0
